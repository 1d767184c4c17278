/** Reports how work on a list of packages ended, with the cause of each failure. */
import type { PackageFailure } from '../../application/each-package.ts';
import { StoreFailedError } from '../../domain/errors.ts';
import type { Terminal } from './command.ts';
import type { ListedPackage } from './package-list.ts';
import { abridged, formatError } from './format-error.ts';

/** Says what went wrong with which package, or with the directory `where` they all go; false when something did. */
export async function isFlawless(
  work: Promise<readonly PackageFailure<ListedPackage>[]>,
  where: string,
  { stderr, interrupted }: Terminal,
): Promise<boolean> {
  let complaint: string;
  try {
    const failures = await work;
    complaint = abridged(
      failures.map(({ request: { place, digest }, error }) => `${place}: ${digest}: ${formatError(error)}`),
    );
  } catch (error) {
    if (!interrupted.aborted && !(error instanceof StoreFailedError)) throw error;
    const why = interrupted.aborted ? 'interrupted' : formatError(error);
    complaint = `${where}: ${why}; the same command goes on from here`;
  }
  if (complaint !== '') stderr.write(`${complaint}\n`);
  return complaint === '';
}
