/** From what HTTP, TLS, DNS and got say to the errors of the domain; what they held (headers, URLs) stays behind. */
import { TimeoutError } from 'got';
import { errnoOf, PackageError, UpstreamTimeoutError, UpstreamUnavailableError } from '../../domain/errors.ts';

/** The request and its host, for the log. */
export interface Asked {
  readonly operation: 'manifest' | 'blob' | 'token' | 'tags' | 'object' | 'bucket';
  /** With its port; never a path or a query, which may be signed. */
  readonly host: string;
  /** The host that was asked first, when another one answers. */
  readonly redirectedBy?: string;
}

const UNKNOWN_CA = 'certificate is not signed by a CA that is trusted here';
const NO_TLS = 'host does not speak TLS';
const CLIENT_CERTIFICATE = 'host wants a client certificate, which this service has not';
const NOTHING_IN_COMMON = 'host accepts no cipher or certificate of this side';
const OLD_TLS = 'host speaks no TLS of version 1.2 or later';

/** For codes that do not speak for themselves. */
const EXPLANATIONS: Readonly<Record<string, string | undefined>> = {
  ERR_IDLE: 'the answer has begun, and no more came in time',
  EMFILE: 'this process has no file descriptor left',
  ENFILE: 'this machine has no file descriptor left',
  HPE_HEADER_OVERFLOW: 'more than 64 KiB of headers',
  // The name that got gives a connection that ends in the middle of a body.
  ERR_HTTP_CONTENT_LENGTH_MISMATCH: 'the connection has ended before the body',
  HPE_UNEXPECTED_CONTENT_LENGTH: 'answer has more than one length',
  CERT_HAS_EXPIRED: 'certificate has expired',
  CERT_NOT_YET_VALID: 'certificate is not valid yet, by the clock of this machine',
  ERR_TLS_CERT_ALTNAME_INVALID: 'certificate is for another host',
  INVALID_PURPOSE: 'certificate or its CA is not for servers, by the extended key usage',
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_CA,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_CA,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_CA,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_CA,
  ERR_SSL_WRONG_VERSION_NUMBER: NO_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NO_TLS,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: CLIENT_CERTIFICATE,
  'ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE': NOTHING_IN_COMMON,
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE: NOTHING_IN_COMMON,
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: OLD_TLS,
  ERR_SSL_UNSUPPORTED_PROTOCOL: OLD_TLS,
};

/** Shows what happened where. Never made from got's errors, which hold the request with its headers. */
export class UpstreamFault extends Error {
  override readonly name = 'UpstreamFault';
  constructor({ operation, host, redirectedBy }: Asked, what: string) {
    const by = redirectedBy === undefined ? '' : ` (redirected by ${redirectedBy})`;
    super(`${operation} from ${host}${by}: ${what}`);
  }
}

export class ConnectFault extends Error {
  override readonly name = 'ConnectFault';
  readonly code: string;
  /** `what` is shown in logs behind the code. */
  constructor(code: string, what: string, options?: ErrorOptions) {
    super(what, options);
    this.code = code;
  }

  /** For a name, a connection, a proxy's answer or a handshake that takes longer than it may. */
  static timeout(what: string): ConnectFault {
    return new ConnectFault('ETIMEDOUT', what);
  }
}

/** For a request or a body that failed. An abort's own reason passes as it is. */
export function failure(asked: Asked, error: unknown, signal: AbortSignal): Error {
  if (signal.aborted && signal.reason instanceof Error) return signal.reason;
  if (error instanceof PackageError) return error;
  const cause = new UpstreamFault(asked, reasonOf(error));
  return error instanceof TimeoutError || ['ERR_IDLE', 'ETIMEDOUT'].includes(codeOf(error))
    ? new UpstreamTimeoutError({ cause })
    : unavailable(cause);
}

export function unavailable(cause: UpstreamFault): UpstreamUnavailableError {
  return new UpstreamUnavailableError(undefined, { cause });
}

/** The code and, for a connection that was not made, what else is known: of the name, the proxy or the certificate. */
function reasonOf(error: unknown): string {
  const code = codeOf(error);
  // OpenSSL's words, such as "EE certificate key too weak", where Node has no code for them.
  if (code === 'UNSPECIFIED' && error instanceof Error) return error.message;
  const words = EXPLANATIONS[code];
  for (let link = error; link instanceof Error; link = link.cause) {
    if (!(link instanceof ConnectFault)) continue;
    return words === undefined ? `${code} (${link.message})` : `${words} (${code}, ${link.message})`;
  }
  return words === undefined ? code : `${words} (${code})`;
}

/** `ECONNREFUSED`, `CERT_HAS_EXPIRED`, …: short, and never a part of the request. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  return errnoOf(error) ?? error.name;
}
