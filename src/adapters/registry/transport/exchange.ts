/** One request to one host, up to the headers of its answer: certificates, connections, bounded waits, no redirects. */
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
  /** Hosts, with their port when it is not the scheme's, that may see credentials as token servers. */
  readonly trustedRealms: readonly string[];
  readonly userAgent: string;
  /** That of the whole process. */
  readonly pools: SharedPools;
  /** For so long a request is repeated before its answer begins, unless it says otherwise. */
  readonly retryTimeoutMs: number;
  /** Without a byte of a blob; for the whole of a small body. */
  readonly idleTimeoutMs: number;
  /** `traceparent` and `tracestate` of the request that is served now. */
  readonly traceHeaders: () => Readonly<Record<string, string>>;
}

/** The server had ended a connection that waited for its next request: another connection may do (RFC 9112, 9.3.1). */
export class StaleConnectionError extends Error {
  override readonly name = 'StaleConnectionError';
  readonly code = 'ECONNRESET';
}

/** Google's registry has sent 21 KB; Node's default is 16 KiB, Go's clients take 1 MiB. */
const MAX_HEADER_BYTES = 64 * 1024;
/** Interim answers (1xx); a registry hardly has a reason for one. */
const MAX_INTERIM_ANSWERS = 100;
/** How a connection ends that was reused while its server closed it. */
const STALE_CODES: ReadonlySet<unknown> = new Set(['ECONNRESET', 'EPIPE']);

/** One for all registries: an instance for each costs 20 KiB of options. */
const client = got.extend({
  // Content is addressed by the digest of its bytes as they are stored: they must arrive as they are.
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
  /** For name, connection and handshake, then for the headers of the answer. */
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
      // The bytes of a large body go past got, which would count none.
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
      // got sees no connection that is still being made.
      const patience = setTimeout(() => {
        giveUp(new BodyFault('ERR_IDLE'));
      }, this.#patienceMs);
      if (upload !== undefined) {
        const chunks = Readable.from(
          copied(upload, () => {
            // A timer that is cleared would begin anew.
            if (!isAnswered) patience.refresh();
          }),
        );
        // Its error is that of the stream, of which the listener below hears.
        pipeline(chunks, stream, () => undefined);
      }
      stream.once('close', () => {
        clearTimeout(patience);
        bypass?.fail(new BodyFault('ERR_BODY_INCOMPLETE'));
      });
      // Stays for good: the reader of the body finds an error that comes before it reads.
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
            // got sees the end of an answer whose bytes have gone past it only if it reads.
            if (body !== undefined) stream.resume();
          });
      });
    });
  }
}

/**
 * Go's client reads lines that end in LF, headers that are folded or hold control characters, spaces behind a chunk's size,
 * and a length beside chunks; Node's parser reads them only when it is told to. No decision depends on this framing: the
 * digest verifies content, and credentials belong to hosts.
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
 * A length beside chunks says nothing (RFC 9112, 6.3), and what follows such an answer on its connection cannot be
 * trusted to be the next one. A length may begin with zeros (RFC 9110, 8.6).
 */
function readFraming(this: ClientRequest, response: IncomingMessage): void {
  const { headers } = response;
  const length = headers['content-length'];
  if (length !== undefined) headers['content-length'] = length.replace(/^0+(?=\d)/, '');
  if (headers['transfer-encoding'] !== undefined && length !== undefined) {
    delete headers['content-length'];
    this.shouldKeepAlive = false;
  }
  // Bytes behind a whole answer are not read (RFC 9112, 6.3): they end the connection, and the answer is as good as before.
  const emit = this.emit.bind(this);
  this.emit = (event: string, ...values: unknown[]) =>
    !(event === 'error' && response.complete && codeOf(values[0]).startsWith('HPE_')) && emit(event, ...values);
}

/** A socket holds a chunk until it is sent, which may be longer than the chunk is valid. */
async function* copied({ open }: Upload, onChunk: () => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of open()) {
    onChunk();
    yield Buffer.from(chunk);
  }
}

/** A proxy between may have changed the content of a 203 (RFC 9110, 15.3.4), which the digest sees as in a 200. */
const statusOf = (statusCode: number): number => (statusCode === 203 ? 200 : statusCode);

/** Node accepts interim answers without end, and an upgrade that was not asked for would never become an answer. */
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
  return request?.reusedSocket === true && 'code' in error && STALE_CODES.has(error.code);
}
