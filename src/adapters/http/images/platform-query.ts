/** The query of an image: its platform, as the command line writes it. */
import { InvalidArgumentError } from '../../../domain/errors.ts';
import type { Platform } from '../../../domain/platform.ts';
import { readParameters } from '../package/package-query.ts';

const PLATFORM = /^([a-z0-9]+)-([a-z0-9]+)$/;

/** Undefined when none is named. @throws InvalidArgumentError */
export function parsePlatformQuery(query: string): Platform | undefined {
  const { platform } = readParameters(query, ['platform']);
  if (platform === '') return undefined;
  const [, os, architecture] = PLATFORM.exec(platform) ?? [];
  if (os === undefined || architecture === undefined)
    throw new InvalidArgumentError('QUERY_INVALID', 'invalid platform');
  return { os, architecture };
}
