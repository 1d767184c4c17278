/** ImageCatalog and BlobSizes that ask the mirrors of a registry, in order, if the registry must not be asked. */
import type { Digest } from '../../domain/descriptor.ts';
import { UpstreamDeniedError } from '../../domain/errors.ts';
import type { BlobSizes, ImageCatalog, Referrer } from '../../domain/ports/registry-gateway.ts';
import type { Tag } from '../../domain/reference.ts';
import type { Upstream } from '../../domain/upstream.ts';
import type { Mirror } from './mirror.ts';

type Catalog = ImageCatalog & BlobSizes;

/** A registry that may be asked is asked itself, because tags move and a mirror may be outdated. */
export class MirroredCatalog implements ImageCatalog, BlobSizes {
  readonly #origin: Catalog;
  readonly #mirrors: readonly Mirror[];

  constructor(origin: Catalog, mirrors: readonly Mirror[]) {
    this.#origin = origin;
    this.#mirrors = mirrors;
  }

  listTags(upstream: Upstream, signal: AbortSignal): Promise<readonly string[]> {
    return this.#ask(upstream, signal, (catalog, asked) => catalog.listTags(asked, signal));
  }

  fetchTagged(upstream: Upstream, tag: Tag, signal: AbortSignal): Promise<Uint8Array> {
    return this.#ask(upstream, signal, (catalog, asked) => catalog.fetchTagged(asked, tag, signal));
  }

  listReferrers(upstream: Upstream, subject: Digest, signal: AbortSignal): Promise<readonly Referrer[]> {
    return this.#ask(upstream, signal, (catalog, asked) => catalog.listReferrers(asked, subject, signal));
  }

  blobSize(upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<number> {
    return this.#ask(upstream, signal, (catalog, asked) => catalog.blobSize(asked, digest, signal));
  }

  /** Rejects with the error of the last place. */
  async #ask<Answer>(
    upstream: Upstream,
    signal: AbortSignal,
    ask: (catalog: Catalog, upstream: Upstream) => Promise<Answer>,
  ): Promise<Answer> {
    const covering = this.#mirrors.flatMap((mirror) => {
      const located = mirror.locate(upstream);
      return located === undefined ? [] : [{ mirror, located }];
    });
    if (covering.every(({ mirror }) => mirror.fallback)) return ask(this.#origin, upstream);
    let failure: unknown = new UpstreamDeniedError();
    for (const { mirror, located } of covering) {
      signal.throwIfAborted();
      try {
        return await ask(mirror.gateway, located);
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }
}
