/** Every way in which a package cannot be delivered. Born typed here, translated to HTTP once, logged once. */

/** Stable for clients and dashboards; OCI's own codes (distribution-spec, error codes) where it has one. */
export type ErrorCode =
  | 'DIGEST_INVALID'
  | 'NAME_INVALID'
  | 'QUERY_INVALID'
  | 'NAME_UNKNOWN'
  | 'MANIFEST_UNKNOWN'
  | 'BLOB_UNKNOWN'
  | 'MANIFEST_INVALID'
  | 'DIGEST_MISMATCH'
  | 'SIGNATURE_INVALID'
  | 'CREDENTIALS_PENDING'
  | 'TOOMANYREQUESTS'
  | 'UPSTREAM_DENIED'
  | 'UPSTREAM_UNAVAILABLE'
  | 'UPSTREAM_TIMEOUT'
  | 'STORE_FULL'
  | 'STORE_FAILED'
  | 'STOPPING';

/** `message` is for the client: one short line with neither a secret nor an internal address; details are in `cause`. */
export abstract class PackageError extends Error {
  abstract readonly code: ErrorCode;
  override get name(): string {
    return this.constructor.name;
  }
}

export function isOneOf<Code extends ErrorCode>(
  error: unknown,
  ...codes: readonly Code[]
): error is PackageError & { readonly code: Code } {
  return error instanceof PackageError && codes.some((code) => code === error.code);
}

/** An error in the words of a log: where it came about, or what a client was told instead. */
export class DescribedError extends Error {
  override readonly name: string = 'DescribedError';
  readonly error: PackageError;
  constructor(error: PackageError, message: string, cause: Error = error) {
    super(message, { cause });
    this.error = error;
  }

  get code(): ErrorCode {
    return this.error.code;
  }
}

/** The caller sent something that can never work. */
export class InvalidArgumentError extends PackageError {
  readonly code: 'DIGEST_INVALID' | 'NAME_INVALID' | 'QUERY_INVALID';
  constructor(code: InvalidArgumentError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** No configured registry goes by this name. */
export class RepositoryUnknownError extends PackageError {
  readonly code = 'NAME_UNKNOWN';
  constructor(message = 'repository is not known to this proxy', options?: ErrorOptions) {
    super(message, options);
  }
}

/** The upstream says that it has no such manifest or blob. */
export class PackageUnknownError extends PackageError {
  readonly code: 'MANIFEST_UNKNOWN' | 'BLOB_UNKNOWN';
  constructor(code: PackageUnknownError['code'], options?: ErrorOptions) {
    super('package not found', options);
    this.code = code;
  }
}

/** The upstream's bytes are the asked-for ones, but not a package. */
export class InvalidContentError extends PackageError {
  readonly code = 'MANIFEST_INVALID';
}

/** An index that has no image for the platform. */
export class PlatformMissingError extends InvalidContentError {}

/** Bytes that are not the ones their descriptor names. */
export class DigestMismatchError extends PackageError {
  readonly code = 'DIGEST_MISMATCH';
  readonly expected: string;
  readonly found: string;
  constructor(expected: string, found: string) {
    super('content does not match its digest');
    this.expected = expected;
    this.found = found;
  }
}

/** Only signed images are handed out, and no trusted key is known to have signed this one. The cause has the reason. */
export class SignatureError extends PackageError {
  readonly code = 'SIGNATURE_INVALID';
  constructor(kind: keyof typeof SIGNATURE_MESSAGES, reason: string) {
    super(SIGNATURE_MESSAGES[kind], { cause: new Error(reason) });
  }
}

const SIGNATURE_MESSAGES = {
  missing: 'image has no signature',
  invalid: 'image has no valid signature',
  unavailable: 'signature of the image cannot be read',
} as const;

/** The first list of credentials has not arrived. */
export class CredentialsPendingError extends PackageError {
  readonly code = 'CREDENTIALS_PENDING';
  constructor(options?: ErrorOptions) {
    super('registry credentials are not loaded yet', options);
  }
}

/** The upstream asks for patience. */
export class UpstreamThrottledError extends PackageError {
  readonly code = 'TOOMANYREQUESTS';
  readonly retryAfterSeconds: number;
  constructor(retryAfterSeconds: number, options?: ErrorOptions) {
    super('registry is throttling', options);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** All slots for downloads are taken: this one did not get its turn in time, or gave its slot to one with a client. */
export class TooManyDownloadsError extends PackageError {
  readonly code = 'TOOMANYREQUESTS';
  constructor() {
    super('too many downloads are in progress');
  }
}

/** Clients that need no token may make a registry answer so often, and no more. */
export class TooManyQuestionsError extends PackageError {
  readonly code = 'TOOMANYREQUESTS';
  constructor() {
    super('too many icons are looked for');
  }
}

/** The upstream does not accept what we know to enter it. */
export class UpstreamDeniedError extends PackageError {
  readonly code = 'UPSTREAM_DENIED';
  constructor(options?: ErrorOptions, message = 'registry refused the configured credentials') {
    super(message, options);
  }
}

/** The registry wants a password, and its configuration has none: no other repository of it is served either. */
export class CredentialsMissingError extends UpstreamDeniedError {
  constructor(options?: ErrorOptions) {
    super(options, 'registry asks for a password, and none is configured');
  }
}

/** Name, connection, TLS or protocol failure, or a server error. */
export class UpstreamUnavailableError extends PackageError {
  readonly code = 'UPSTREAM_UNAVAILABLE';
  constructor(message = 'registry is unavailable', options?: ErrorOptions) {
    super(message, options);
  }
}

/** An upstream has other bytes for this digest: their number tells it before the first of them. Other digests are not affected. */
export class WrongSizeError extends UpstreamUnavailableError {}

/** A bounded wait for the upstream ran out. */
export class UpstreamTimeoutError extends PackageError {
  readonly code = 'UPSTREAM_TIMEOUT';
  constructor(options?: ErrorOptions) {
    super('registry did not answer in time', options);
  }
}

/** Why a store has no room for a blob: it is switched off, smaller than the blob, or full of what cannot leave. */
export type NoRoom = 'store-off' | 'store-too-small' | 'store-full';

/** There can be no room for this blob now; its source was not touched. */
export class StoreFullError extends PackageError {
  readonly code = 'STORE_FULL';
  readonly reason: NoRoom;
  constructor(reason: NoRoom = 'store-full') {
    super(reason === 'store-too-small' ? 'package is larger than the local store' : 'no room in the local store');
    this.reason = reason;
  }
}

/** The local disk failed. */
export class StoreFailedError extends PackageError {
  readonly code = 'STORE_FAILED';
  constructor(options?: ErrorOptions) {
    super('local store failed', options);
  }
}

/** The client was too slow, and its blob gave its room to others. All bytes that were read are verified. */
export class EvictedError extends StoreFailedError {
  override readonly message = 'blob left the local store while it was read';
}

/** The process is going away. */
export class StoppingError extends PackageError {
  readonly code = 'STOPPING';
  constructor() {
    super('service is stopping');
  }
}

/** The machine is not as the service needs it: one sentence for the operator, with the remedy. No request ever meets it. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/** The code of an error of the system, `ENOENT`; undefined for another error. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
