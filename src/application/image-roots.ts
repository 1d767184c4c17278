/** Where the images of the command line are: in the default repository, or beside it for all editions. */
import { isOneOf, type PackageError } from '../domain/errors.ts';
import { DEFAULT_REPOSITORY, type PackageRequest, type RepositoryPath } from '../domain/reference.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import { below, parentOf, type Registry, type Upstream } from '../domain/upstream.ts';

/** Last segments of repositories that are an edition of the platform. */
const EDITIONS: ReadonlySet<string> = new Set(['ce', 'be', 'se', 'se-plus', 'ee', 'fe', 'cse']);

/** An image in one of the places where it may be. */
export interface PlacedImage {
  readonly upstream: Upstream;
  /** The same place, for requests by digest. */
  readonly request: Pick<PackageRequest, 'repository' | 'path' | 'isBeside'>;
}

export class ImageRoots {
  readonly #credentials: CredentialProvider;
  /** Whether the last answer came from beside the repository. A changed configuration is another object. */
  readonly #isBeside = new WeakMap<Registry, boolean>();

  constructor(credentials: CredentialProvider) {
    this.#credentials = credentials;
  }

  /**
   * The first answer of `ask`, and where it came from. A place that answered before is asked first. Rejects, when no place
   * answers, with the failure that says most: one that may pass, before "not found", before "denied".
   */
  async find<Answer>(
    image: RepositoryPath,
    ask: (place: PlacedImage) => Promise<Answer>,
  ): Promise<{ readonly place: PlacedImage; readonly answer: Answer }> {
    const configured = await this.#credentials.resolve(DEFAULT_REPOSITORY);
    const failures: unknown[] = [];
    for (const isBeside of this.#order(configured)) {
      const root = isBeside ? parentOf(configured) : configured;
      if (root === undefined) continue;
      const place = {
        upstream: below(root, image),
        request: { repository: DEFAULT_REPOSITORY, path: image, isBeside },
      };
      try {
        const answer = await ask(place);
        // After a failure that may pass, the place may have been the second best only.
        if (failures.every(isFinal)) this.#isBeside.set(configured.registry, isBeside);
        return { place, answer };
      } catch (error) {
        failures.push(error);
      }
    }
    throw failures.toSorted((one, other) => weightOf(one) - weightOf(other))[0];
  }

  #order(configured: Upstream): readonly boolean[] {
    const edition = configured.repository?.split('/').at(-1) ?? '';
    if (!EDITIONS.has(edition) || parentOf(configured) === undefined) return [false];
    return this.#isBeside.get(configured.registry) === true ? [true, false] : [false, true];
  }
}

function isUnknown(error: unknown): error is PackageError {
  return isOneOf(error, 'MANIFEST_UNKNOWN', 'BLOB_UNKNOWN');
}

function isDenied(error: unknown): error is PackageError {
  return isOneOf(error, 'UPSTREAM_DENIED');
}

/** Another request would not be answered otherwise. */
function isFinal(error: unknown): boolean {
  return isUnknown(error) || isDenied(error);
}

function weightOf(error: unknown): number {
  if (!isFinal(error)) return 0;
  return isUnknown(error) ? 1 : 2;
}
