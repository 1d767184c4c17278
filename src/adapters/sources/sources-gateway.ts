/** RegistryGateway that asks sources before the registry, and switches if a source lacks the content, fails, or is slow. */
import { BoundedMap } from '../../domain/bounded-map.ts';
import { type Descriptor, type Digest, digestOf, isDigest } from '../../domain/descriptor.ts';
import { DigestMismatchError, type PackageError, PackageUnknownError } from '../../domain/errors.ts';
import type {
  Operation,
  RegistryGateway,
  SourceInspection,
  SourceKind,
  SourceStatus,
} from '../../domain/ports/registry-gateway.ts';
import type { Upstream } from '../../domain/upstream.ts';
import { Verifier, WITHHELD_BYTES } from '../../domain/verifier.ts';
import { AllFailed, firstAnswer, type Won } from './first-answer.ts';
import { paced } from './paced.ts';
import { type Place, Places, shownError } from './places.ts';
import {
  blobRepair,
  manifestRepair,
  type Repair,
  type Source,
  type SourceLimits,
  type SourceObserver,
  type Wanted,
} from './source.ts';

interface SourcesGatewayOptions {
  readonly origin: RegistryGateway;
  /** In the order of asking. */
  readonly sources: readonly Source[];
  readonly limits: SourceLimits;
  readonly observe: SourceObserver;
  /** The milliseconds of a monotonic clock. */
  readonly now?: () => number;
}

type Bytes = AsyncIterable<Uint8Array>;

interface Question extends Wanted {
  readonly operation: Operation;
}

/** The sources that recently sent bytes of a digest, the latest last; undefined stands for the registry. */
interface Served {
  readonly by: readonly (Source | undefined)[];
  readonly repair: Repair;
}

/** The multiple of the patience after which a resting source is asked beside a silent registry. */
const RESTING_PATIENCE = 8;
/** About 300 KB. */
const MAX_SERVED = 1000;
/** A rest of a blob that arrives within this many seconds needs no other connection. */
const NEARLY_DONE_SECONDS = 1;

export class SourcesGateway implements RegistryGateway, SourceInspection {
  readonly #origin: RegistryGateway;
  readonly #limits: SourceLimits;
  readonly #places: Places;
  readonly #served = new BoundedMap<Digest, Served>(MAX_SERVED);

  constructor({ now = () => performance.now(), ...options }: SourcesGatewayOptions) {
    this.#origin = options.origin;
    this.#limits = options.limits;
    this.#places = new Places({ ...options, now });
  }

  async fetchManifest(upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<Uint8Array> {
    const places = this.#places.of(upstream, digest);
    if (places === undefined) return this.#origin.fetchManifest(upstream, digest, signal);
    const ask = async (place: Place, ended: AbortSignal): Promise<Uint8Array> => {
      const bytes = await place.gateway.fetchManifest(place.upstream, digest, ended);
      const found = place.source === undefined ? digest : digestOf(bytes);
      if (found !== digest) throw new DigestMismatchError(digest, found);
      return bytes;
    };
    const repair = manifestRepair(this, upstream, digest);
    const { place, answer } = await this.#first(places, { operation: 'manifest', digest, repair }, ask, signal);
    place.state.recover();
    return answer;
  }

  async fetchBlob(upstream: Upstream, blob: Descriptor, offset: number, signal: AbortSignal): Promise<Bytes> {
    const places = this.#places.of(upstream, blob.digest);
    if (places === undefined) return this.#origin.fetchBlob(upstream, blob, offset, signal);
    const repair = blobRepair(this, upstream, blob);
    const open = (at: number, among?: readonly Place[]): Promise<Won<Place, Bytes>> =>
      this.#open(among ?? this.#places.of(upstream, blob.digest, false) ?? [], { blob, repair }, at, signal);
    const first = await open(offset, places);
    return this.#follow({ upstream, blob, repair, offset, first, open, signal });
  }

  knownRefusal(upstream: Upstream, operation: Operation, digest: Digest): PackageError | undefined {
    const places = this.#places.of(upstream, digest, false);
    if (places === undefined) return this.#origin.knownRefusal(upstream, operation, digest);
    const refusals = new Map<Place, unknown>();
    for (const place of places) {
      const refusal = place.gateway.knownRefusal(place.upstream, operation, digest);
      if (refusal === undefined) return undefined;
      refusals.set(place, refusal);
    }
    return shownError(refusals) as PackageError;
  }

  /** Records wrong bytes of a digest: the sources that sent them are no longer asked for it. */
  mismatched(error: unknown, digest?: Digest): void {
    if (!(error instanceof DigestMismatchError)) return;
    const wrong = digest ?? (isDigest(error.expected) ? error.expected : undefined);
    if (wrong === undefined) return;
    const served = this.#served.get(wrong);
    if (served === undefined) return;
    for (const source of served.by) {
      if (source !== undefined) this.#places.distrust(source, { digest: wrong, repair: served.repair }, error);
    }
    this.#served.delete(wrong);
  }

  /** Records that sources of this kind have the right bytes of this digest again. */
  healed(kind: SourceKind, digest: Digest): void {
    this.#places.trust(kind, digest);
  }

  sources(upstream?: Upstream): SourceStatus[] {
    return this.#places.status(upstream);
  }

  servedBy(digest: Digest): SourceKind | undefined {
    return this.#served.get(digest)?.by.at(-1)?.kind;
  }

  #open(
    places: readonly Place[],
    { blob, repair }: Pick<Followed, 'blob' | 'repair'>,
    offset: number,
    signal: AbortSignal,
  ): Promise<Won<Place, Bytes>> {
    const { digest, size } = blob;
    const ask = async ({ source, gateway, upstream }: Place, ended: AbortSignal): Promise<Bytes> => {
      const chunks = await gateway.fetchBlob(upstream, blob, offset, ended);
      // No client gets bytes of such a small blob before its verification, so it is verified here, and wrong bytes fail no
      // request.
      return source === undefined || offset > 0 || size > WITHHELD_BYTES ? chunks : readVerified(blob, chunks);
    };
    return this.#first(places, { operation: 'blob', digest, repair }, ask, signal);
  }

  async *#follow({ upstream, blob, repair, offset, first, open, signal }: Followed): AsyncGenerator<Uint8Array> {
    const failed = new Set<Source>();
    let at = offset;
    for (let current = first; ; current = await open(at)) {
      const { place, answer, end } = current;
      const isTooSlow = (rate: number): boolean =>
        rate < this.#limits.minimumRate &&
        blob.size - at > rate * NEARLY_DONE_SECONDS &&
        this.#places.isBetterElsewhere(place, upstream, blob.digest, rate);
      const onRate = (rate: number): void => {
        place.state.rate = rate;
      };
      try {
        for await (const chunk of paced(answer, { onRate, isTooSlow, end })) {
          at += chunk.byteLength;
          yield chunk;
        }
        place.state.recover();
        return;
      } catch (error) {
        const { source } = place;
        if (signal.aborted || source === undefined || at > blob.size) throw error;
        this.#places.failed(place, { digest: blob.digest, repair }, error);
        if (at === blob.size) return;
        // A source gets one attempt here; the owner of a download decides whether one without progress continues.
        if (failed.has(source)) throw error;
        failed.add(source);
      } finally {
        end(new Error('the body is not read any more'));
      }
    }
  }

  /** Rejects with the error of the registry, if it was asked. */
  async #first<Answer>(
    places: readonly Place[],
    { operation, digest, repair }: Question,
    ask: (place: Place, signal: AbortSignal) => Promise<Answer>,
    signal: AbortSignal,
  ): Promise<Won<Place, Answer>> {
    const { patienceMs } = this.#limits;
    const registry = places.find(({ source }) => source === undefined);
    // While a registry answers, a resting source could win with its first byte and be slow again.
    const lastPatienceMs =
      registry === undefined || registry.state.rests() ? patienceMs : patienceMs * RESTING_PATIENCE;
    const race = {
      places,
      ask,
      patienceMs: ({ isResting }: Place) => (isResting ? lastPatienceMs : patienceMs),
      mayHedge: ({ source, gateway, upstream }: Place) =>
        source !== undefined || gateway.knownRefusal(upstream, operation, digest) === undefined,
      onFailure: (place: Place, error: unknown) => {
        this.#places.failed(place, { digest, repair }, error);
        return place.source !== undefined || !(error instanceof PackageUnknownError);
      },
      onLate: (place: Place) => {
        this.#places.late(place, digest);
      },
    };
    try {
      const won = await firstAnswer(race, signal);
      const before = this.#served.get(digest)?.by.filter((source) => source !== won.place.source) ?? [];
      this.#served.set(digest, { by: [...before, won.place.source], repair });
      return won;
    } catch (error) {
      throw error instanceof AllFailed ? shownError(error.failures as ReadonlyMap<Place, unknown>) : error;
    }
  }
}

interface Followed {
  readonly upstream: Upstream;
  readonly blob: Descriptor;
  readonly repair: Repair;
  /** The offset at which `first` begins. */
  readonly offset: number;
  readonly first: Won<Place, Bytes>;
  /** Opens the rest from an offset on, from the first place that answers. */
  readonly open: (at: number) => Promise<Won<Place, Bytes>>;
  readonly signal: AbortSignal;
}

/** Rejects with DigestMismatchError, or as `chunks` does. */
async function readVerified(blob: Descriptor, chunks: Bytes): Promise<Bytes> {
  const verifier = new Verifier(blob);
  const pieces: Uint8Array[] = [];
  for await (const chunk of chunks) {
    verifier.update(chunk);
    pieces.push(new Uint8Array(chunk));
  }
  verifier.verify();
  return eachOf(pieces);
}

// eslint-disable-next-line @typescript-eslint/require-await -- bytes that are here already
async function* eachOf(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* pieces;
}
