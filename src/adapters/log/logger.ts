/** JSON lines on standard output, and what an error may show in them. */
import { type DestinationStream, type Logger, pino } from 'pino';
import { ClientGoneError, RefusedError } from '../http/server/problem.ts';
import { PackageError } from '../../domain/errors.ts';

/** The longest chain of causes that is logged; deeper causes have never helped. */
const MAX_CAUSES = 5;
/** A typed error needs no stack; a bug does. */
const EXPECTED = [PackageError, RefusedError, ClientGoneError];

export function createLogger(level: string, destination: DestinationStream): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
      // A second line of defence: nothing that we log has such a field.
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
    destination,
  );
}

/** Named fields only: foreign errors carry requests with headers, and other data. */
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
