/** A package as a request names it, and the image and layer to which it resolves. */
import type { Descriptor } from './descriptor.ts';
import type { Digest } from './digest.ts';
import type { RepositoryName, RepositoryPath } from './reference.ts';

export interface PackageRequest {
  /** The digest of an image manifest, or of an index of them. */
  readonly digest: Digest;
  readonly repository: RepositoryName;
  /** Below the repository. */
  readonly path: RepositoryPath | undefined;
  /** Whether the path is below the parent of the repository. Registries of editions keep images for all editions there. */
  readonly isBeside?: boolean;
}

export interface Package {
  /** As requested. */
  readonly digest: Digest;
  /** The blob that is the package: the bytes as the registry stores them. */
  readonly layer: Descriptor;
}
