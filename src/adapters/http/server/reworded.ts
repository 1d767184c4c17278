/** Errors of the domain in the words that the clients of one route know. */
import { isOneOf, PackageError } from '../../../domain/errors.ts';
import { RewordedError } from './problem.ts';

export interface Words {
  /** No place has it. */
  readonly unknown: string;
  /** The registry fails, or sends what cannot be used. */
  readonly failed: string;
}

/** Those that ask for patience keep their own words. */
export async function reworded<Value>({ unknown, failed }: Words, work: Promise<Value>): Promise<Value> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof PackageError)) throw error;
    if (isOneOf(error, 'NAME_UNKNOWN', 'MANIFEST_UNKNOWN', 'BLOB_UNKNOWN')) throw new RewordedError(error, unknown);
    if (isOneOf(error, 'UPSTREAM_DENIED', 'UPSTREAM_UNAVAILABLE', 'MANIFEST_INVALID', 'DIGEST_MISMATCH')) {
      throw new RewordedError(error, failed);
    }
    throw isOneOf(error, 'CREDENTIALS_PENDING') ? new RewordedError(error, 'registry config unavailable') : error;
  }
}
