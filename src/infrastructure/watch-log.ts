/** Says what becomes of the watched objects, and does not repeat itself while the API server is away. */
import type { Logger } from 'pino';
import type { ProviderEvent } from '../adapters/kubernetes/kubernetes-credential-provider.ts';

/** The same trouble is logged once in this time. */
const QUIET_MS = 60_000;

export function watchLog(logger: Logger): (event: ProviderEvent) => void {
  const lastFailure = new Map<string, number>();
  return (event) => {
    const { resource } = event;
    switch (event.kind) {
      case 'listed':
        lastFailure.delete(resource);
        logger.debug({ resource, objects: event.objects }, 'listed');
        break;
      case 'changed':
        break;
      case 'failed':
        if (performance.now() - (lastFailure.get(resource) ?? -Infinity) < QUIET_MS) return;
        lastFailure.set(resource, performance.now());
        logger.warn({ resource, during: event.during, err: event.error }, 'watching failed, trying again');
        break;
      case 'invalid':
        logger.warn(
          // A typo in an object is no fault of the program, so its stack would only hide the sentence.
          { resource, object: event.object, reason: event.error.message },
          'object cannot be used, keeping its previous state',
        );
        break;
      case 'conflict': {
        const { object, winner, repository } = event;
        logger.warn({ resource, object, winner, repository }, 'repository belongs to another object');
      }
    }
  };
}
