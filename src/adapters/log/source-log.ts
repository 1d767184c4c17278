/** Logs the failures of sources, such as mirrors; a source without the package has not failed. */
import type { Logger } from 'pino';

/** The shortest time between two lines about the same source. */
const QUIET_MS = 60_000;

interface SourceSwitch {
  readonly source: { readonly kind: string; readonly name: string };
  readonly reason: string;
  readonly digest: string;
  readonly error: unknown;
}

/** Reasons that follow from an earlier one, or are not failures. */
const SILENT = ['absent', 'resting'];

export function sourceLog(logger: Logger, now = () => performance.now()): (event: SourceSwitch) => void {
  const last = new Map<string, number>();
  return ({ source: { kind, name }, reason, digest, error: err }) => {
    if (SILENT.includes(reason) || (reason === 'distrusted' && err === undefined)) return;
    const key = `${kind} ${name}`;
    if (now() - (last.get(key) ?? -Infinity) < QUIET_MS) return;
    last.set(key, now());
    logger.warn({ source: kind, host: name, reason, digest, err }, 'source is not used, asking elsewhere');
  };
}

/** Logs that the files of a mirror's credential have changed, or cannot be used. */
export function credentialLog(logger: Logger, host: string): (error?: Error) => void {
  return (err) => {
    if (err === undefined) logger.info({ source: 'mirror', host }, 'credentials of the source have changed');
    else
      logger.error(
        { source: 'mirror', host, err },
        'credentials of the source cannot be used, keeping the previous ones',
      );
  };
}
