/** HTTPS with known clients: a certificate identifies a client; without one, only health checks are permitted. */
import { constants } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer, type ServerOptions } from 'node:https';
import { createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import { errnoOf, StartError } from '../../../domain/errors.ts';

/** All values are PEM. */
export interface TlsFiles {
  readonly certificate: string;
  readonly key: string;
  readonly clientCa: string;
}

/**
 * The interval of the checks for changes. Files are read, not watched, because a Secret changes by a symbolic link two
 * folders above.
 */
const INTERVAL_MS = 5000;

/** The reasons: a failed handshake, a certificate that is not a client's, a request without a certificate. */
export const REFUSALS = ['handshake', 'certificate', 'anonymous'] as const;
export type Refusal = (typeof REFUSALS)[number];

interface MutualTlsOptions {
  readonly files: TlsFiles;
  /** The common names of accepted certificates; others, including the service's own, are refused. */
  readonly clientNames: readonly string[];
  readonly onRefused?: (refusal: Refusal) => void;
}

/** The paths of the three files. */
interface TlsPaths {
  readonly certificate: string;
  readonly key: string;
  readonly clientCA: string;
}

type Listener = (request: IncomingMessage, response: ServerResponse) => void;

/** The paths that the kubelet probes without a certificate. */
const HEALTH = ['/healthz', '/readyz'];

export class MutualTls {
  readonly #clientNames: readonly string[];
  readonly #onRefused: (refusal: Refusal) => void;
  readonly #known = new WeakSet<object>();
  #files: TlsFiles;
  #server: Server | undefined;

  constructor({ files, clientNames, onRefused = () => undefined }: MutualTlsOptions) {
    this.#files = files;
    this.#clientNames = clientNames;
    this.#onRefused = onRefused;
  }

  createServer(options: ServerOptions, listener: Listener): Server {
    const { certificate: cert, key, clientCa: ca } = this.#files;
    const server = createServer(
      // A client without a certificate completes the handshake, and `guarded` refuses it; `#admit` checks each certificate.
      // eslint-disable-next-line no-restricted-syntax
      { ...options, cert, key, ca, requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.2' },
      listener,
    );
    useContext(server, contextOf(this.#files));
    server.prependListener('secureConnection', (socket: TLSSocket) => {
      this.#admit(socket);
    });
    server.on('tlsClientError', (error: NodeJS.ErrnoException) => {
      // A client that left was not refused.
      if (error.code !== 'ECONNRESET') this.#onRefused('handshake');
    });
    this.#server = server;
    return server;
  }

  /** Uses other files for new connections. @throws if the key does not belong to the certificate */
  use(files: TlsFiles): void {
    const context = contextOf(files);
    this.#files = files;
    if (this.#server !== undefined) useContext(this.#server, context);
  }

  /** Refuses a request without a certificate, except a health check. */
  guarded(listener: Listener): Listener {
    return (request, response) => {
      if (this.#known.has(request.socket) || HEALTH.includes(request.url ?? '')) {
        listener(request, response);
        return;
      }
      this.#onRefused('anonymous');
      response.writeHead(403, { 'Content-Type': 'text/plain; charset=utf-8', Connection: 'close' });
      response.end('a client certificate is required\n');
    };
  }

  /**
   * OpenSSL has verified chain, time and usage (purpose sslclient). The certificate is checked in addition, because Node
   * reports a resumed session as authorized even if it never had a certificate.
   */
  #admit(socket: TLSSocket): void {
    if (socket.getPeerX509Certificate() === undefined) return;
    // The value is a list if the subject has several CN.
    const name: unknown = socket.getPeerCertificate().subject.CN;
    if (socket.authorized && typeof name === 'string' && this.#clientNames.includes(name)) this.#known.add(socket);
    else {
      this.#onRefused('certificate');
      socket.destroy();
    }
  }
}

/** @throws StartError for files that do not fit their settings or each other */
export function readTlsFiles({ certificate, key, clientCA }: TlsPaths): TlsFiles {
  const files = {
    certificate: readPem('certificate', certificate, 'CERTIFICATE'),
    key: readPem('key', key, 'PRIVATE KEY'),
    clientCa: readPem('clientCA', clientCA, 'CERTIFICATE'),
  };
  try {
    contextOf(files);
  } catch (cause) {
    const isOther = errnoOf(cause) === 'ERR_OSSL_X509_KEY_VALUES_MISMATCH';
    const why = isOther ? `${key} is not the key of ${certificate}` : 'the files cannot be used';
    throw new StartError(`server.tls: ${why}`, { cause });
  }
  return files;
}

/** Empty paths mean no TLS. @throws StartError as `readTlsFiles` */
export function checkTlsFiles(paths: TlsPaths | undefined): TlsFiles | undefined {
  return paths === undefined || paths.certificate === '' ? undefined : readTlsFiles(paths);
}

function readPem(setting: string, path: string, label: string): string {
  const text = readFileSync(path, 'utf8');
  // PKCS #8 marks encryption in the label, the older format in a header.
  if (label === 'PRIVATE KEY' && /^(?:-----BEGIN ENCRYPTED |Proc-Type: *4, *ENCRYPTED)/m.test(text)) {
    throw new StartError(
      `server.tls.${setting}: ${path} is encrypted with a passphrase: decrypt it, for example by "openssl pkey -in FILE -out FILE"`,
    );
  }
  if (new RegExp(`-----BEGIN (?:[A-Z]+ )*${label}-----`).test(text)) return text;
  throw new StartError(`server.tls.${setting}: ${path} has no PEM block of a ${label.toLowerCase()}`);
}

/** Gives changed files to a running server. */
export class FollowedTls {
  readonly #paths: TlsPaths;
  readonly #tls: MutualTls;
  readonly #onChange: (error?: unknown) => void;
  /** The last content, or the reason why it could not be read, so that each change is tried and reported once. */
  #seen: string;
  #timer: NodeJS.Timeout | undefined;

  /** `onChange` gets each change, with the error if the files cannot be used. */
  constructor(paths: TlsPaths, initial: TlsFiles, tls: MutualTls, onChange: (error?: unknown) => void) {
    this.#paths = paths;
    this.#seen = JSON.stringify(initial);
    this.#tls = tls;
    this.#onChange = onChange;
  }

  start(): Promise<void> {
    this.#timer = setInterval(() => {
      this.#look();
    }, INTERVAL_MS);
    return Promise.resolve();
  }

  stop(): Promise<void> {
    clearInterval(this.#timer);
    return Promise.resolve();
  }

  #look(): void {
    const files = this.#changed();
    if (files === undefined) return;
    try {
      this.#tls.use(files);
    } catch (error) {
      this.#onChange(error);
      return;
    }
    this.#onChange();
  }

  #changed(): TlsFiles | undefined {
    let files: TlsFiles;
    try {
      files = readTlsFiles(this.#paths);
    } catch (error) {
      if (this.#isNew(String(error))) this.#onChange(error);
      return undefined;
    }
    return this.#isNew(JSON.stringify(files)) ? files : undefined;
  }

  #isNew(seen: string): boolean {
    const isNew = seen !== this.#seen;
    this.#seen = seen;
    return isNew;
  }
}

function contextOf({ certificate: cert, key, clientCa: ca }: TlsFiles): SecureContext {
  return createSecureContext({
    cert,
    key,
    ca,
    // An issuing CA is a trust anchor without its root, as in Go.
    allowPartialTrustChain: true,
    minVersion: 'TLSv1.2',
    // Each connection sends its certificate, so that one of a former CA is refused after the change.
    secureOptions: constants.SSL_OP_NO_TICKET,
    sessionIdContext: 'registry-packages-proxy',
  });
}

/** The servers of Node 24 lose the option for partial chains, in their constructor and in setSecureContext. */
function useContext(server: Server, context: SecureContext): void {
  Object.assign(server, { _sharedCreds: context });
}
