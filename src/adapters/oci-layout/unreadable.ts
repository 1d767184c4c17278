/** Translates failures of a disk with images into those of an upstream. */
import type { Digest } from '../../domain/descriptor.ts';
import { UpstreamUnavailableError } from '../../domain/errors.ts';

export async function* readable(chunks: AsyncIterable<Uint8Array>, digest: Digest): AsyncGenerator<Uint8Array> {
  try {
    yield* chunks;
  } catch (cause) {
    throw unreadable(digest, cause);
  }
}

export function unreadable(digest: Digest, cause: unknown): UpstreamUnavailableError {
  const reason = cause instanceof Error ? cause.message : 'unknown error';
  return new UpstreamUnavailableError('images cannot be read', { cause: new Error(`${digest}: ${reason}`) });
}
