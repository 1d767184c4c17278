/** Writes JSON lines to standard output, with the log level of the settings file and the safe parts of errors. */
import { type DestinationStream, type Logger, pino } from 'pino';
import { ClientGoneError, RefusedError } from '../http/server/problem.ts';
import { DescribedError, PackageError, StartError } from '../../domain/errors.ts';
import { watchFile } from 'node:fs';

/** The longest chain of causes that is logged; deeper causes have never helped. */
const MAX_CAUSES = 5;
/** Typed errors need no stack; bugs do. */
const EXPECTED = [PackageError, DescribedError, RefusedError, ClientGoneError, StartError];

/** When this much waits for the reader of the log, further lines are lost, because the log of days would fill the memory. */
const MAX_WAITING_BYTES = 1024 * 1024;

interface Destination extends DestinationStream {
  /** The bytes that wait for the reader. */
  readonly writableLength?: number;
}

export function createLogger(level: string, destination: Destination): Logger {
  let lost = 0;
  const write = (line: string): void => {
    if ((destination.writableLength ?? 0) > (lost > 0 ? MAX_WAITING_BYTES / 2 : MAX_WAITING_BYTES)) {
      lost++;
      return;
    }
    const lines = lost;
    lost = 0;
    if (lines > 0) logger.warn({ lines }, 'log was not read, lines are lost');
    destination.write(line);
  };
  const logger = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
      // This is a second protection: no logged object has such a field.
      redact: [
        '*.authorization',
        '*.password',
        '*.token',
        '*.headers',
        'authorization',
        'password',
        'token',
        'headers',
      ],
    },
    { write },
  );
  return logger;
}

/** Returns only named fields, because foreign errors contain requests with headers, and other data. */
function describeError(error: unknown): object | undefined {
  if (error === undefined) return undefined;
  if (!(error instanceof Error)) return { type: typeof error };
  return {
    type: error.name,
    ...('code' in error && { code: error.code }),
    message: error.message,
    ...('expected' in error && 'found' in error && { expected: error.expected, found: error.found }),
    ...(error.cause !== undefined && { causes: causesOf(error) }),
    ...(!EXPECTED.some((kind) => error instanceof kind) && { stack: error.stack }),
  };
}

function causesOf(error: Error): string[] {
  const causes: string[] = [];
  for (let { cause } = error; cause instanceof Error && causes.length < MAX_CAUSES; { cause } = cause) {
    causes.push(`${cause.name}: ${cause.message}`);
  }
  return causes;
}

/**
 * The interval of the checks for a change. The file is polled, because a ConfigMap changes by a symbolic link two folders
 * above.
 */
const INTERVAL_MS = 2000;

/** `read` reads the level again; an error with `problems` names the wrong settings. */
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
