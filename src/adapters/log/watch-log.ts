/** Logs changes of the watched objects; a failure that repeats is logged once a minute. */
import type { Logger } from 'pino';

/** The shortest time between two lines about the same failure. */
const QUIET_MS = 60_000;

/** The fields of a watcher's events that are logged. */
type WatchedEvent = { readonly resource: string } & (
  | { readonly kind: 'listed'; readonly objects: number }
  | { readonly kind: 'changed' | 'forbidden' }
  | { readonly kind: 'failed'; readonly during: string; readonly error: unknown }
  | { readonly kind: 'invalid'; readonly object: string; readonly error: Error }
  | { readonly kind: 'conflict'; readonly object: string; readonly winner: string; readonly repository: string }
);

export function watchLog(logger: Logger): (event: WatchedEvent) => void {
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
      case 'forbidden':
        logger.info({ resource }, 'listing is forbidden, taken for none');
        break;
      case 'failed':
        if (performance.now() - (lastFailure.get(resource) ?? -Infinity) < QUIET_MS) return;
        lastFailure.set(resource, performance.now());
        logger.warn({ resource, during: event.during, err: event.error }, 'watching failed, trying again');
        break;
      case 'invalid':
        logger.warn(
          // An object with a mistake is no bug of this program, so the line has no stack.
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
