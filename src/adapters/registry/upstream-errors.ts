/** Converts errors of HTTP, TLS, DNS and got into errors of the domain, without the headers and URLs that they contain. */
import { TimeoutError } from 'got';
import { errnoOf, PackageError, UpstreamTimeoutError, UpstreamUnavailableError } from '../../domain/errors.ts';

/** The request and its host, for the log. */
export interface Asked {
  readonly operation: 'manifest' | 'blob' | 'token' | 'tags' | 'object' | 'bucket';
  /** The host with its port, without a path or a query, which may contain a signature. */
  readonly host: string;
  /** The host that redirected to this one. */
  readonly redirectedBy?: string;
}

const UNKNOWN_CA = 'certificate is not signed by a CA that is trusted here';
const NO_TLS = 'host does not speak TLS';
const CLIENT_CERTIFICATE = 'host wants a client certificate, which this service does not have';
const NOTHING_IN_COMMON = 'host accepts no cipher or certificate of this side';
const OLD_TLS = 'host does not support TLS 1.2 or later';

/** Explanations of codes that are hard to understand. */
const EXPLANATIONS: Readonly<Record<string, string | undefined>> = {
  ERR_IDLE: 'the answer began, but the rest did not come in time',
  EADDRNOTAVAIL: 'this machine has no local address or port left',
  EMFILE: 'this process has no file descriptor left',
  ENFILE: 'this machine has no file descriptor left',
  HPE_HEADER_OVERFLOW: 'more than 64 KiB of headers',
  // The code of got for a connection that ends in the middle of a body.
  ERR_HTTP_CONTENT_LENGTH_MISMATCH: 'the connection has ended before the body',
  HPE_UNEXPECTED_CONTENT_LENGTH: 'answer has more than one length',
  CERT_HAS_EXPIRED: 'certificate or its CA has expired',
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

/** The cause and the host of a failure. It never contains an error of got, which would contain the request headers. */
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
  /** Logs show `what` after the code. */
  constructor(code: string, what: string, options?: ErrorOptions) {
    super(what, options);
    this.code = code;
  }

  /** The error for a lookup, a connection, the answer of a proxy or a handshake that takes too long. */
  static timeout(what: string): ConnectFault {
    return new ConnectFault('ETIMEDOUT', what);
  }
}

/** The error for a failed request or body. The reason of an abort is returned unchanged. */
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

/** The code and, for a failed connection, further details of the name, the proxy or the certificate. */
function reasonOf(error: unknown): string {
  const code = codeOf(error);
  // The message of OpenSSL, such as "EE certificate key too weak", if Node has no code for it.
  if (code === 'UNSPECIFIED' && error instanceof Error) return error.message;
  const words = EXPLANATIONS[code];
  for (let link = error; link instanceof Error; link = link.cause) {
    if (!(link instanceof ConnectFault)) continue;
    return words === undefined ? `${code} (${link.message})` : `${words} (${code}, ${link.message})`;
  }
  return words === undefined ? code : `${words} (${code})`;
}

/** A code such as `ECONNREFUSED` or `CERT_HAS_EXPIRED`; never a part of the request. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  return errnoOf(error) ?? error.name;
}
