/** The bucket that replicas share: the requests to it, the writes to it, and the observers of both. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Digest } from '../../domain/descriptor.ts';
import type { Senders } from '../registry/senders.ts';
import type { PackageStore } from '../../domain/ports/package-store.ts';
import type { BucketSettings } from './bucket-schema.ts';
import { S3Bucket, type S3HttpSettings, senderTo } from './s3-bucket.ts';
import { FileSigningKeys, type SigningKeySource } from './s3-credentials.ts';
import { S3Gateway } from './s3-gateway.ts';
import { S3Location, serverOf } from './s3-location.ts';
import { WebIdentityKeys } from './web-identity.ts';
import { WriteBehind, type WriteEvent } from './write-behind.ts';

/** The first request of a process takes 20 ms of processor time, so it waits until the service has started. */
const CHECK_DELAY_MS = 500;

/** A change between usable and unusable, or the result of the write of a blob. */
type BucketEvent =
  | { readonly kind: 'usable' }
  | { readonly kind: 'unusable'; readonly code: string; readonly error: unknown }
  | ({ readonly kind: 'write' } & WriteEvent);

interface SharedBucketOptions {
  readonly settings: BucketSettings & { readonly endpoint: URL };
  readonly http: S3HttpSettings;
  /** Whether blobs that arrive in the store are written to the bucket. */
  readonly isWritten: boolean;
  readonly senders?: Senders;
}

/** Asked after the registries, their mirrors and the store. */
export class SharedBucket {
  readonly gateway: S3Gateway;
  readonly #bucket: S3Bucket;
  readonly #isWritten: boolean;
  readonly #stopping = new AbortController();
  #isUsable = false;
  #writeBehind: WriteBehind | undefined;
  #checking: Promise<void> | undefined;

  /** Called with each event. */
  observe: (event: BucketEvent) => void = () => undefined;

  /** @throws Error that names a missing setting */
  constructor({ settings, http, isWritten, senders }: SharedBucketOptions) {
    const location = new S3Location(settings);
    this.#isWritten = isWritten;
    this.#bucket = new S3Bucket({
      location,
      keys: keysOf(settings, http),
      send: senderTo(location.server, http),
      onTrouble: ({ code, error }) => {
        this.#isUsable = false;
        this.observe({ kind: 'unusable', code, error });
      },
      onAnswer: () => {
        if (this.#isUsable) return;
        this.#isUsable = true;
        this.observe({ kind: 'usable' });
      },
    });
    this.gateway = new S3Gateway({
      bucket: this.#bucket,
      idleTimeoutMs: http.idleTimeoutMs,
      senders,
      onSeen: (digest, isThere) => this.#writeBehind?.observeObject(digest, isThere),
    });
  }

  get name(): string {
    return this.#bucket.host;
  }

  /** The number of blobs that wait to be written, or are being written. */
  get queued(): number {
    return this.#writeBehind?.queued ?? 0;
  }

  /** Rejects with the reason why the bucket cannot be used. */
  check(signal: AbortSignal): Promise<void> {
    return this.#bucket.check(signal);
  }

  /**
   * Returns an observer that writes arriving blobs of the store to the bucket; undefined if nothing is written. Without a
   * store only wrong objects are replaced.
   */
  writeBehind(store: Pick<PackageStore, 'open'> | undefined): WriteBehind['observeArrival'] | undefined {
    if (!this.#isWritten) return undefined;
    this.#writeBehind = new WriteBehind({
      bucket: this.#bucket,
      store,
      onWrite: (event) => {
        this.observe({ kind: 'write', ...event });
      },
      onHealed: (digest) => {
        this.onHealed(digest);
      },
    });
    return this.#writeBehind.observeArrival;
  }

  /** Records wrong bytes of the bucket for this digest: the next copy replaces the object. */
  readonly distrust: WriteBehind['distrust'] = (digest, repair) => {
    this.#writeBehind?.distrust(digest, repair);
  };

  /** Called with a digest whose object was replaced, so that the bucket may be asked for it again. */
  onHealed: (digest: Digest) => void = () => undefined;

  /**
   * Checks the bucket after the start. No code waits for the result, because the service works without the bucket, but
   * slower.
   */
  start(): Promise<void> {
    this.#checking = this.#checkAtStart();
    return Promise.resolve();
  }

  /** Ends the running write. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all([this.#checking, this.#writeBehind?.stop()]);
  }

  async #checkAtStart(): Promise<void> {
    const { signal } = this.#stopping;
    try {
      await sleep(CHECK_DELAY_MS, undefined, { signal });
      await this.#bucket.check(signal);
    } catch (error) {
      if (!signal.aborted) this.observe({ kind: 'unusable', code: 'start', error });
    }
  }
}

function keysOf({ credentials, region, ca }: BucketSettings, http: S3HttpSettings): SigningKeySource {
  const { environment } = http;
  if (credentials.source === 'files') return new FileSigningKeys(credentials.directory);
  const roleARN = credentials.roleARN || environment['AWS_ROLE_ARN'];
  const tokenFile = credentials.tokenFile || environment['AWS_WEB_IDENTITY_TOKEN_FILE'];
  if (roleARN === undefined || roleARN === '') throw missing('roleARN', 'AWS_ROLE_ARN');
  if (tokenFile === undefined || tokenFile === '') throw missing('tokenFile', 'AWS_WEB_IDENTITY_TOKEN_FILE');
  const endpoint = credentials.tokenService ?? new URL(`https://sts.${region}.amazonaws.com`);
  return new WebIdentityKeys({ endpoint, roleARN, tokenFile, send: senderTo(serverOf(endpoint, ca), http) });
}

function missing(setting: string, variable: string): Error {
  return new Error(`registry.bucket.credentials.${setting} is empty, and the environment has no ${variable}`);
}
