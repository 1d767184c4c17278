/** The log's level follows the settings file while the service runs: who needs to see more must not lose the cache for it. */
import { watchFile } from 'node:fs';
import type { Logger } from 'pino';
import { SettingsError } from './load-settings.ts';
import type { Settings } from './settings.ts';

/** How soon a change is seen. Asked for instead of watched: a ConfigMap changes by a symbolic link two folders above. */
const INTERVAL_MS = 2000;

/** `read` gives the settings anew, with the flags laid over them; of what has changed only the level counts. */
export function followLogLevel(file: string, read: () => Settings, logger: Logger): void {
  // Nobody waits for this at the end of the process.
  watchFile(file, { interval: INTERVAL_MS, persistent: false }, () => {
    try {
      const { level } = read().log;
      if (level !== logger.level) change(logger, level);
    } catch (error) {
      if (!(error instanceof SettingsError)) throw error;
      logger.warn({ problems: error.problems }, 'settings cannot be used, keeping the log level');
    }
  });
}

function change(logger: Logger, level: string): void {
  const { level: previous } = logger;
  // Whichever of the two is the quieter one, whoever changed it wants to see that it worked.
  logger.level = 'info';
  logger.info({ previous, current: level }, 'log level changed');
  logger.level = level;
}
