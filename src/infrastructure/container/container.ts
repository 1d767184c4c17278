/** Binds an adapter to each port: one module for each choice, joined here for `serve`. */
import 'reflect-metadata';
import { Container } from 'inversify';
import type { Surroundings } from '../surroundings.ts';
import { credentialsModule } from './credentials-module.ts';
import { gatewayModule } from './gateway-module.ts';
import { inspectionModule } from './inspection-module.ts';
import { processModule, serviceModule } from './service-module.ts';
import { storeModule } from './store-module.ts';

export function createContainer(surroundings: Surroundings): Container {
  const container = new Container({ defaultScope: 'Singleton' });
  container.load(
    processModule(surroundings),
    storeModule(surroundings.settings),
    gatewayModule(surroundings),
    credentialsModule(surroundings),
    inspectionModule(),
    serviceModule(),
  );
  return container;
}
