/** The bucket that replicas share, loaded only where the settings name one. */
import { ContainerModule } from 'inversify';
import { Bucket } from './bucket.ts';
import { type ContainerInputs, T } from './tokens.ts';

export function bucketModule(inputs: ContainerInputs, endpoint: URL): ContainerModule {
  return new ContainerModule(({ bind }) => {
    bind(T.BUCKET).toResolvedValue((metrics) => new Bucket(inputs, endpoint, metrics), [T.METRICS]);
  });
}
