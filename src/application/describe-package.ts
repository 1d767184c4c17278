/** Answers a HEAD: the package that a GET would send, without moving a blob. */
import type { Package, PackageRequest } from '../domain/reference.ts';
import type { PackageStore } from '../domain/ports/package-store.ts';
import type { PackageResolver } from './resolve-package.ts';

export interface Description {
  readonly package: Package;
  /** Since when the package lies here; undefined when it does not. */
  readonly storedAt: Date | undefined;
}

export class DescribePackage {
  readonly #resolve: Pick<PackageResolver, 'execute'>;
  readonly #store: PackageStore;

  constructor(options: { readonly resolve: Pick<PackageResolver, 'execute'>; readonly store: PackageStore }) {
    this.#resolve = options.resolve;
    this.#store = options.store;
  }

  async execute(request: PackageRequest): Promise<Description> {
    const found = await this.#resolve.execute(request);
    const stored = await this.#store.open(found.layer).catch(() => undefined);
    await stored?.close();
    return { package: found, storedAt: stored?.storedAt };
  }
}
