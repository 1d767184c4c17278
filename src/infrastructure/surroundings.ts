/** The inputs of the parts of a service. */
import type { Logger } from 'pino';
import type { Settings } from './settings.ts';

export interface Surroundings {
  readonly settings: Settings;
  readonly logger: Logger;
  readonly version: string;
  /** For the proxy variables. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}
