/** The log's level follows the settings file while the service runs: a restart would end running downloads. */
import { watchFile } from 'node:fs';
import type { Logger } from 'pino';

/** How soon a change is seen. Asked for instead of watched: a ConfigMap changes by a symbolic link two folders above. */
const INTERVAL_MS = 2000;

/** `read` reads the level again; an error with `problems` says which settings are wrong. */
export function followLogLevel(file: string, read: () => string, logger: Logger): void {
  // The watch does not keep the process alive.
  watchFile(file, { interval: INTERVAL_MS, persistent: false }, () => {
    try {
      const level = read();
      if (level !== logger.level) change(logger, level);
    } catch (error) {
      if (!(error instanceof Error && 'problems' in error)) throw error;
      logger.warn({ problems: error.problems }, 'settings cannot be used, keeping the log level');
    }
  });
}

function change(logger: Logger, level: string): void {
  const { level: previous } = logger;
  // The line is logged before a level above `info` applies, so that the operator sees that the change worked.
  logger.level = 'info';
  logger.info({ previous, current: level }, 'log level changed');
  logger.level = level;
}
