/** ResolvePackage that verifies the signature of an image before it delivers it, once for each manifest and set of keys. */
import { BoundedMap } from '../domain/bounded-map.ts';
import type { Digest } from '../domain/descriptor.ts';
import { isOneOf, SignatureError } from '../domain/errors.ts';
import type { Package, PackageRequest } from '../domain/reference.ts';
import type { Platform } from '../domain/index-entry.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import type { SignatureVerdict, SignatureVerifier } from '../domain/ports/signature-verifier.ts';
import { platformManifest, upstreamOf, type VerifiedManifest } from './manifests.ts';
import type { MissingManifest, PackageResolver } from './resolve-package.ts';
import { SingleFlight } from './concurrency/single-flight.ts';

/** The same number as in ResolvePackage: about 15 MB. */
const MAX_VALID = 50_000;
const MAX_REFUSED = 10_000;
/** Less than the 25 s in which a client of /v1/images gets the head of an answer. */
const TIMEOUT_MS = 12_000;
/** Others than a valid verdict expire, because an image may be signed after a request, and a registry may recover. */
const REMEMBERED_MS = { valid: Infinity, missing: 30_000, invalid: 30_000, unavailable: 5000 } as const;

/** `report` reports images without a valid signature to observers; `enforce` also refuses them. */
export type SignatureMode = 'report' | 'enforce';

/** A verdict on a requested digest. */
export interface SignatureFinding {
  readonly request: PackageRequest;
  readonly verdict: SignatureVerdict;
  readonly verifiedAt: Date;
  /** The index whose signature covers the image. */
  readonly index?: Digest;
}

/** The state of signatures that operators can see. */
export interface SignatureInspection {
  readonly mode: SignatureMode;
  /** The last finding on a digest; undefined before its first request. */
  finding(digest: Digest): SignatureFinding | undefined;
}

interface ResolveSignedPackageOptions {
  readonly resolve: PackageResolver;
  readonly verifier: SignatureVerifier;
  readonly credentials: CredentialProvider;
  /** The platform to which an index resolves. */
  readonly platform: Platform;
  readonly mode: SignatureMode;
  /** Called for each verification, not for later uses of its result. */
  readonly observe: (finding: SignatureFinding) => void;
  /** Aborted when the process stops. */
  readonly stopping: AbortSignal;
}

interface Known extends SignatureFinding {
  /** The name of the keys of this verdict. */
  readonly keys: string;
  readonly place: string;
  /** The time of expiry on the monotonic clock. */
  readonly until: number;
}

export class ResolveSignedPackage implements PackageResolver, SignatureInspection {
  readonly #options: ResolveSignedPackageOptions;
  /** Valid verdicts count for each repository, because a signature covers the bytes. */
  readonly #valid = new BoundedMap<Digest, Known>(MAX_VALID);
  /** Other verdicts count for one repository and for a time, because another repository may have the signature. */
  readonly #refused = new BoundedMap<Digest, Known>(MAX_REFUSED);
  readonly #running = new SingleFlight<string, SignatureFinding>();

  constructor(options: ResolveSignedPackageOptions) {
    this.#options = options;
  }

  get mode(): SignatureMode {
    return this.#options.mode;
  }

  async execute(request: PackageRequest): Promise<Package> {
    const found = await this.#options.resolve.execute(request);
    await this.check(request);
    return found;
  }

  async manifest(request: PackageRequest): Promise<VerifiedManifest> {
    const found = await this.#options.resolve.manifest(request);
    await this.check(request);
    return found;
  }

  recall(digest: Digest): Promise<Package | MissingManifest> {
    return this.#options.resolve.recall(digest);
  }

  finding(digest: Digest): SignatureFinding | undefined {
    return this.#known(digest);
  }

  /** Rejects with SignatureError if the image must not be delivered, or as ResolvePackage does. */
  async check(request: PackageRequest): Promise<void> {
    const { verdict } = await this.#find(request);
    if (verdict.kind !== 'valid' && this.mode === 'enforce') throw new SignatureError(verdict.kind, verdict.reason);
  }

  /** Verifies an index because its signature covers its images. The verdict does not refuse the index. */
  async learn(request: PackageRequest): Promise<void> {
    await this.#find(request);
  }

  async #find(request: PackageRequest): Promise<SignatureFinding> {
    const keys = await this.#options.verifier.keys();
    const known = this.#known(request.digest);
    if (known !== undefined && isCurrent(known, keys, request)) return known;
    const key = [keys, request.digest, placeOf(request)].join(' ');
    return this.#running.run(key, () => this.#verify(request, keys));
  }

  async #verify(request: PackageRequest, keys: string): Promise<SignatureFinding> {
    const { observe, mode } = this.#options;
    const verdict = await this.#judge(request, keys).catch((error: unknown): SignatureVerdict => {
      // The manifest was evicted and cannot be fetched again.
      if (mode === 'enforce') throw error;
      return { kind: 'unavailable', reason: error instanceof Error ? error.message : 'unknown error' };
    });
    const until = performance.now() + REMEMBERED_MS[verdict.kind];
    const known = { request, verdict, verifiedAt: new Date(), keys, place: placeOf(request), until };
    this.#remember(known);
    observe(known);
    return known;
  }

  /** An image in a signed index counts as signed, and so does an index with a signed image. */
  async #judge(request: PackageRequest, keys: string): Promise<SignatureVerdict> {
    const { resolve, platform, stopping } = this.#options;
    const signal = AbortSignal.any([stopping, AbortSignal.timeout(TIMEOUT_MS)]);
    const { document, bytes } = await resolve.manifest(request);
    const own = await this.#ask(request, bytes, signal);
    if (document.kind === 'manifest') return own;
    if (own.kind === 'valid') {
      const covered = { verdict: own, verifiedAt: new Date(), index: request.digest, keys, place: placeOf(request) };
      for (const { digest } of document.manifests)
        this.#remember({ ...covered, request: { ...request, digest }, until: REMEMBERED_MS.valid });
      return own;
    }
    let last = request;
    let image = bytes;
    const found = await platformManifest<never>(document, platform, async (digest) => {
      last = { ...request, digest };
      const manifest = await resolve.manifest(last);
      image = manifest.bytes;
      return manifest.document;
    }).catch((error: unknown) => {
      // ResolvePackage will report what is wrong with the image.
      if (isOneOf(error, 'MANIFEST_INVALID')) return undefined;
      throw error;
    });
    if (found === undefined) return own;
    const verdict = await this.#ask(last, image, signal);
    return verdict.kind === 'valid' || own.kind === 'missing' ? verdict : own;
  }

  #ask(request: PackageRequest, bytes: Uint8Array, signal: AbortSignal): Promise<SignatureVerdict> {
    const { verifier, credentials } = this.#options;
    return verifier.verify({ digest: request.digest, bytes }, () => upstreamOf(request, credentials), signal);
  }

  #known(digest: Digest): Known | undefined {
    return this.#valid.get(digest) ?? this.#refused.get(digest);
  }

  #remember(known: Known): void {
    const { digest } = known.request;
    const isValid = known.verdict.kind === 'valid';
    (isValid ? this.#valid : this.#refused).set(digest, known);
    (isValid ? this.#refused : this.#valid).delete(digest);
  }
}

function isCurrent({ keys: found, verdict, place, until }: Known, keys: string, request: PackageRequest): boolean {
  if (found !== keys || until <= performance.now()) return false;
  return verdict.kind === 'valid' || place === placeOf(request);
}

function placeOf({ repository, path, isBeside = false }: PackageRequest): string {
  return [repository, path, isBeside].join(' ');
}
