/** Counts manifests whose bytes are not those of their digest, without the use case's knowing. */
import type { Counter } from 'prom-client';
import type { ResolvePackage, VerifiedManifest } from '../../application/resolve-package.ts';
import { DigestMismatchError } from '../../domain/errors.ts';
import type { PackageRequest } from '../../domain/reference.ts';

export class MeteredManifests implements Pick<ResolvePackage, 'manifest'> {
  readonly #manifests: Pick<ResolvePackage, 'manifest'>;
  readonly #mismatches: Counter;

  constructor(manifests: Pick<ResolvePackage, 'manifest'>, mismatches: Counter) {
    this.#manifests = manifests;
    this.#mismatches = mismatches;
  }

  async manifest(request: PackageRequest): Promise<VerifiedManifest> {
    try {
      return await this.#manifests.manifest(request);
    } catch (error) {
      if (error instanceof DigestMismatchError) this.#mismatches.inc();
      throw error;
    }
  }
}
