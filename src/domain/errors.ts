/** All errors of the delivery of a package. Each is typed here, translated to HTTP once and logged once. */

/** Codes that stay stable for clients and dashboards: OCI's code (distribution-spec, error codes) if there is one. */
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

/** `message` is for the client: one short line without secrets and internal addresses; `cause` has the details. */
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

/** An error with a description for the log: the place where it happened, or the message that the client got. */
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

/** The caller sent something invalid, which fails each time. */
export class InvalidArgumentError extends PackageError {
  readonly code: 'DIGEST_INVALID' | 'NAME_INVALID' | 'QUERY_INVALID';
  constructor(code: InvalidArgumentError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** No configured registry has this name. */
export class RepositoryUnknownError extends PackageError {
  readonly code = 'NAME_UNKNOWN';
  constructor(message = 'repository is not known to this proxy') {
    super(message);
  }
}

/** The upstream answers that it does not have this manifest or blob. */
export class PackageUnknownError extends PackageError {
  readonly code: 'MANIFEST_UNKNOWN' | 'BLOB_UNKNOWN';
  constructor(code: PackageUnknownError['code'], options?: ErrorOptions) {
    super('package not found', options);
    this.code = code;
  }
}

/** The upstream sent the requested bytes, but they are not a package. */
export class InvalidContentError extends PackageError {
  readonly code = 'MANIFEST_INVALID';
}

/** An index that has no image for the platform. */
export class PlatformMissingError extends InvalidContentError {}

/** The bytes differ from their descriptor. */
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

/**
 * The service delivers only signed images, and no signature of a trusted key is known for this one. The cause has the
 * reason.
 */
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
  constructor() {
    super('registry credentials are not loaded yet');
  }
}

/** The upstream limits the rate of requests. */
export class UpstreamThrottledError extends PackageError {
  readonly code = 'TOOMANYREQUESTS';
  readonly retryAfterSeconds: number;
  constructor(retryAfterSeconds: number, options?: ErrorOptions) {
    super('registry is throttling', options);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** All download slots are in use: the download got none in time, or lost its slot to one with a client. */
export class TooManyDownloadsError extends PackageError {
  readonly code = 'TOOMANYREQUESTS';
  constructor() {
    super('too many downloads are in progress');
  }
}

/** The rate of questions that clients without a token may cause at a registry is exceeded. */
export class TooManyQuestionsError extends PackageError {
  readonly code = 'TOOMANYREQUESTS';
  constructor() {
    super('too many icons are looked for');
  }
}

/** The upstream refuses the configured credentials. */
export class UpstreamDeniedError extends PackageError {
  readonly code = 'UPSTREAM_DENIED';
  constructor(options?: ErrorOptions, message = 'registry refused the configured credentials') {
    super(message, options);
  }
}

/** The registry wants a password, and its configuration has none; so its other repositories fail, too. */
export class CredentialsMissingError extends UpstreamDeniedError {
  constructor(options?: ErrorOptions) {
    super(options, 'registry asks for a password, and none is configured');
  }
}

/** A failure of name resolution, connection, TLS or protocol, or a server error. */
export class UpstreamUnavailableError extends PackageError {
  readonly code = 'UPSTREAM_UNAVAILABLE';
  constructor(message = 'registry is unavailable', options?: ErrorOptions) {
    super(message, options);
  }
}

/** The upstream announced a size other than the descriptor's, before the first byte. Other digests are not affected. */
export class WrongSizeError extends UpstreamUnavailableError {}

/** The upstream did not answer within the time limit. */
export class UpstreamTimeoutError extends PackageError {
  readonly code = 'UPSTREAM_TIMEOUT';
  constructor(options?: ErrorOptions) {
    super('registry did not answer in time', options);
  }
}

/**
 * Why a store has no room for a blob: it is switched off, smaller than the blob, or full of entries that it cannot remove.
 */
export type NoRoom = 'store-off' | 'store-too-small' | 'store-full';

/** The store has no room for this blob now; the upstream was not asked for it. */
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

/** The client was too slow, and the store removed its blob to make room. All bytes that it has read are verified. */
export class EvictedError extends StoreFailedError {
  override readonly message = 'blob left the local store while it was read';
}

/** The process is stopping. */
export class StoppingError extends PackageError {
  readonly code = 'STOPPING';
  constructor() {
    super('service is stopping');
  }
}

/**
 * The machine is not as the service needs it. The message is one sentence with the remedy for the operator; no request gets
 * it.
 */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/** Returns the code of a system error, such as `ENOENT`; undefined for other errors. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
