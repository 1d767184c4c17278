/** Sends one request to one host and resolves with the headers of its answer; follows no redirects. */
import got, { type PlainResponse } from 'got';
import { type ClientRequest, type IncomingMessage, type RequestOptions, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { pipeline, Readable } from 'node:stream';
import type { Registry } from '../../../domain/upstream.ts';
import { Pools, type SharedPools } from './agents.ts';
import { type Body, BodyFault } from '../body.ts';
import { codeOf } from '../upstream-errors.ts';
import type { HttpRequest, HttpResponse, Upload } from './http-message.ts';
import { bypassParser } from '../bulk/parser-bypass.ts';

export interface HttpSettings {
  readonly connectTimeoutMs: number;
  readonly headersTimeoutMs: number;
  /** The token servers that may get credentials: hosts, with a port unless it is the default port. */
  readonly trustedRealms: readonly string[];
  readonly userAgent: string;
  /** The pools of the whole process. */
  readonly pools: SharedPools;
  /** A request is repeated for this long, before its answer begins, unless it has its own limit. */
  readonly retryTimeoutMs: number;
  /** The limit without a byte of a blob, and the limit for a whole small body. */
  readonly idleTimeoutMs: number;
  /** `traceparent` and `tracestate` of the current request. */
  readonly traceHeaders: () => Readonly<Record<string, string>>;
}

/** The server had closed an idle connection; another connection can succeed (RFC 9112, 9.3.1). */
export class StaleConnectionError extends Error {
  override readonly name = 'StaleConnectionError';
  readonly code = 'ECONNRESET';
}

/** Google's registry has sent 21 KB. Node's default is 16 KiB, Go's clients accept 1 MiB. */
const MAX_HEADER_BYTES = 64 * 1024;
/** The highest number of interim answers (1xx); a registry needs hardly any. */
const MAX_INTERIM_ANSWERS = 100;
/** The codes of a connection that was reused while its server closed it. */
const STALE_CODES: ReadonlySet<unknown> = new Set(['ECONNRESET', 'EPIPE']);

/** One client for all registries, because an instance takes 20 KiB for its options. */
const client = got.extend({
  // The digest is that of the stored bytes, so they must not be changed.
  decompress: false,
  headers: { 'accept-encoding': 'identity' },
  throwHttpErrors: false,
  followRedirect: false,
  retry: { limit: 0 },
  maxHeaderSize: MAX_HEADER_BYTES,
  request: requestLeniently,
});

export class Exchange {
  readonly #settings: HttpSettings;
  readonly #pools: Pools;
  /** The limit for name, connection and handshake, and then for the headers of the answer. */
  readonly #patienceMs: number;

  constructor(registry: Registry, settings: HttpSettings) {
    const { connectTimeoutMs, headersTimeoutMs, trustedRealms, pools } = settings;
    this.#settings = settings;
    this.#pools = new Pools(registry, trustedRealms, pools);
    this.#patienceMs = 3 * connectTimeoutMs + headersTimeoutMs;
  }

  /** Rejects with the errors of Node and got, and with StaleConnectionError. */
  async run(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    const { asked, url, headers, form, isHead = false, upload, isBulk = false } = request;
    const { userAgent, headersTimeoutMs } = this.#settings;
    const stream = client.stream(url, {
      agent: this.#pools.for(url),
      headers: {
        'user-agent': userAgent,
        ...headers,
        ...(upload && { 'content-length': String(upload.size) }),
      },
      timeout: { response: headersTimeoutMs },
      signal,
      ...(form && { method: 'POST', form: { ...form } }),
      ...(isHead && { method: 'HEAD' }),
      ...(upload && { method: 'PUT' }),
      // A large body bypasses got, so got would count no bytes.
      ...(isBulk && { strictContentLength: false }),
    });
    let sent: ClientRequest | undefined;
    let isAnswered = false;
    let bypass: ReturnType<typeof bypassParser> | undefined;
    return new Promise<HttpResponse>((resolve, reject) => {
      const giveUp = (error: Error): void => {
        reject(error);
        stream.destroy();
      };
      stream.once('request', (begun: ClientRequest) => {
        sent = begun;
        if (isBulk) bypass = bypassParser(begun);
        begun.prependOnceListener('response', readFraming);
        whenUnexpected(begun, giveUp);
      });
      // The time limits of got do not include a connection that is being made.
      const patience = setTimeout(() => {
        giveUp(new BodyFault('ERR_IDLE'));
      }, this.#patienceMs);
      if (upload !== undefined) {
        const chunks = Readable.from(
          copied(upload, () => {
            // `refresh` would start a cleared timer again.
            if (!isAnswered) patience.refresh();
          }),
        );
        // An error of the pipeline is an error of the stream, which the listener below handles.
        pipeline(chunks, stream, () => undefined);
      }
      stream.once('close', () => {
        clearTimeout(patience);
        bypass?.fail(new BodyFault('ERR_BODY_INCOMPLETE'));
      });
      // This listener is never removed: it keeps an error that comes before the body is read.
      stream.on('error', (error) => {
        bypass?.fail(error);
        reject(isStale(sent, error) ? new StaleConnectionError() : error);
      });
      stream.once('response', ({ statusCode, headers: answered }: PlainResponse) => {
        clearTimeout(patience);
        isAnswered = true;
        const answer = (body: Body): void => {
          resolve({ asked, status: statusOf(statusCode), headers: answered, body });
        };
        if (bypass === undefined) answer(stream);
        else
          void bypass.body().then((body) => {
            answer(body ?? stream);
            // got notices the end of an answer whose bytes bypass it only if the stream flows.
            if (body !== undefined) stream.resume();
          });
      });
    });
  }
}

/**
 * Go's client accepts lines that end in LF, folded headers, control characters in headers, spaces after the size of a chunk, and
 * a length in addition to chunks; Node's parser accepts them only with this option. This is safe, because the digest verifies
 * content, and credentials belong to hosts.
 */
function requestLeniently(
  url: URL,
  options: RequestOptions,
  callback?: Parameters<typeof requestHttp>[2],
): ClientRequest {
  const request = url.protocol === 'https:' ? requestHttps : requestHttp;
  return request(url, { ...options, insecureHTTPParser: true }, callback);
}

/**
 * If an answer has chunks and a length, the length is ignored (RFC 9112, 6.3). The connection is closed after such an answer,
 * because the bytes that follow may not be the next answer. A length may begin with zeros (RFC 9110, 8.6).
 */
function readFraming(this: ClientRequest, response: IncomingMessage): void {
  const { headers } = response;
  const length = headers['content-length'];
  if (length !== undefined) headers['content-length'] = length.replace(/^0+(?=\d)/, '');
  if (headers['transfer-encoding'] !== undefined && length !== undefined) {
    delete headers['content-length'];
    this.shouldKeepAlive = false;
  }
  // Bytes after a complete answer are not read (RFC 9112, 6.3). They end the connection, and do not affect the answer.
  const emit = this.emit.bind(this);
  this.emit = (event: string, ...values: unknown[]) =>
    !(event === 'error' && response.complete && codeOf(values[0]).startsWith('HPE_')) && emit(event, ...values);
}

/** Copies the chunks, because a socket can hold a chunk longer than the chunk is valid. */
async function* copied({ open }: Upload, onChunk: () => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of open()) {
    onChunk();
    yield Buffer.from(chunk);
  }
}

/** A 203 counts as a 200: a proxy may have changed the content (RFC 9110, 15.3.4), and the digest verifies it. */
const statusOf = (statusCode: number): number => (statusCode === 203 ? 200 : statusCode);

/** Ends a request with too many interim answers, which Node does not limit, or with an upgrade that was not requested. */
function whenUnexpected(request: ClientRequest, give: (error: Error) => void): void {
  let interim = 0;
  const complain = (): void => {
    give(Object.assign(new Error('answer does not belong to this request'), { code: 'ERR_UNEXPECTED_ANSWER' }));
  };
  request.on('information', () => {
    if (++interim > MAX_INTERIM_ANSWERS) complain();
  });
  request.once('upgrade', (_response, socket) => {
    socket.destroy();
    complain();
  });
}

function isStale(request: ClientRequest | undefined, error: Error): boolean {
  return request?.reusedSocket === true && STALE_CODES.has(codeOf(error));
}
