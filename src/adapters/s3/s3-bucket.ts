/** Sends signed requests for the objects of one bucket (AWS Signature Version 4, with aws4). */
import aws4 from 'aws4';
import { type Digest, digestHex } from '../../domain/descriptor.ts';
import { PackageUnknownError, UpstreamDeniedError, UpstreamUnavailableError } from '../../domain/errors.ts';
import { discard } from '../registry/body.ts';
import { sharePools } from '../registry/transport/agents.ts';
import type { HttpSettings } from '../registry/transport/exchange.ts';
import type { HttpRequest, HttpResponse, Upload } from '../registry/transport/http-message.ts';
import { Deadline, RetriedExchange } from '../registry/transport/retried-exchange.ts';
import { CHECKSUM, CHECKSUM_MODE, checksumOf, refusalOf, storedDigest } from './s3-answers.ts';
import { unavailable, UpstreamFault } from '../registry/upstream-errors.ts';
import type { SigningKeySource } from './s3-credentials.ts';
import type { S3Location } from './s3-location.ts';

export type S3HttpSettings = Pick<
  HttpSettings,
  'connectTimeoutMs' | 'headersTimeoutMs' | 'idleTimeoutMs' | 'retryTimeoutMs' | 'userAgent'
> & { readonly environment: Parameters<typeof sharePools>[1] };

/** The bucket refuses the keys, or does not exist: a mistake in the configuration, for the operator. */
export interface BucketTrouble {
  readonly code: string;
  readonly error: Error;
}

export interface S3BucketOptions {
  readonly location: S3Location;
  readonly keys: SigningKeySource;
  readonly send: (request: HttpRequest, signal: AbortSignal) => Promise<HttpResponse>;
  readonly onTrouble: (trouble: BucketTrouble) => void;
  /** Called for each successful answer of the bucket. */
  readonly onAnswer: () => void;
}

/** The object of a digest: it is correct, differs, or does not exist. */
export type ObjectState = 'there' | 'other' | 'absent';

const EMPTY = digestHex('sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' as Digest);

/** Sends requests to one server, with the retries of the settings and without redirects. */
export function senderTo(
  server: S3Location['server'],
  { environment, ...settings }: S3HttpSettings,
): S3BucketOptions['send'] {
  const exchange = new RetriedExchange(server, {
    ...settings,
    trustedRealms: [],
    pools: sharePools(settings.connectTimeoutMs, environment),
    // The trace of a request has text of a client, so only registries get it.
    traceHeaders: () => ({}),
  });
  return (request, signal) => {
    const patience = new Deadline(request.patienceMs ?? settings.retryTimeoutMs);
    return exchange.run(request, { retry: patience, wait: patience }, signal);
  };
}

export class S3Bucket {
  readonly #options: S3BucketOptions;

  constructor(options: S3BucketOptions) {
    this.#options = options;
  }

  get host(): string {
    return this.#options.location.url.host;
  }

  /** Resolves with the response with which the object begins. Rejects with PackageUnknownError and the Upstream…Errors. */
  async get(
    digest: Digest,
    operation: 'manifest' | 'blob',
    request: Pick<HttpRequest, 'headers' | 'patienceMs' | 'isBulk'>,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const { location } = this.#options;
    const sent = { ...request, asked: { operation, host: this.host }, url: location.objectOf(digest) };
    const response = await this.#send(sent, { ...request.headers, ...CHECKSUM_MODE }, signal);
    // 416: the range begins after the end of an object that is too short.
    if (![200, 206, 416].includes(response.status)) throw await this.#refusal(response);
    return response;
  }

  /** Resolves with whether the object has the size and, if the server knows it, the checksum of the blob. */
  async stateOf(digest: Digest, size: number, signal: AbortSignal): Promise<ObjectState> {
    const headers = await this.#head(digest, signal);
    if (headers === undefined) return 'absent';
    const isRight = headers['content-length'] === String(size) && (storedDigest(headers) ?? digest) === digest;
    return isRight ? 'there' : 'other';
  }

  /** Resolves with the size of the object in bytes. Rejects as `get` does. */
  async sizeOf(digest: Digest, signal: AbortSignal): Promise<number> {
    const headers = await this.#head(digest, signal);
    if (headers === undefined) throw new PackageUnknownError('BLOB_UNKNOWN');
    const size = Number(headers['content-length']);
    if (Number.isSafeInteger(size)) return size;
    throw unavailable(new UpstreamFault(this.#asked('object'), 'answer has no length'));
  }

  async #head(digest: Digest, signal: AbortSignal): Promise<HttpResponse['headers'] | undefined> {
    const { location } = this.#options;
    const sent = { asked: this.#asked('object'), url: location.objectOf(digest), isHead: true };
    const response = await this.#send(sent, CHECKSUM_MODE, signal);
    const { status, headers, body } = response;
    // A response to HEAD has no body with further information.
    if (status !== 200 && status !== 404) throw await this.#refusal(response);
    discard(body);
    return status === 200 ? headers : undefined;
  }

  /**
   * Writes the object, and overwrites an existing one. The sha256 is both signed and sent as checksum, because some servers
   * ignore one of them; the other makes them refuse wrong bytes. The request has no condition (ADR 38).
   */
  async put(digest: Digest, upload: Upload, signal: AbortSignal): Promise<void> {
    const { location } = this.#options;
    const sent = { asked: this.#asked('object'), url: location.objectOf(digest), upload };
    const response = await this.#send(sent, { [CHECKSUM]: checksumOf(digest) }, signal, digestHex(digest));
    if (response.status !== 200) throw await this.#refusal(response);
    discard(response.body);
  }

  /** Rejects with the reason why the bucket cannot be used. */
  async check(signal: AbortSignal): Promise<void> {
    const { location } = this.#options;
    const response = await this.#send({ asked: this.#asked('bucket'), url: location.listing }, {}, signal);
    if (response.status !== 200) {
      const { error } = await refusalOf(response);
      // A 404 for the list of a bucket means that the bucket does not exist.
      throw response.status === 404 ? new UpstreamUnavailableError(undefined, { cause: error.cause }) : error;
    }
    response.body.destroy();
  }

  #asked(operation: 'object' | 'bucket'): HttpRequest['asked'] {
    return { operation, host: this.host };
  }

  readonly #refusal = async (response: HttpResponse): Promise<Error> => {
    const { error, code } = await refusalOf(response);
    const isDenial = error instanceof UpstreamDeniedError;
    if (error instanceof PackageUnknownError) this.#options.onAnswer();
    if (isDenial) this.#options.keys.refused();
    if (isDenial || (response.status === 404 && !(error instanceof PackageUnknownError))) {
      this.#options.onTrouble({ code: code ?? String(response.status), error });
    }
    return error;
  };

  /** Signs all headers except `range`, which the library omits. */
  async #send(
    request: Omit<HttpRequest, 'headers'>,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
    sha256 = EMPTY,
  ): Promise<HttpResponse> {
    const { keys, location, send, onTrouble, onAnswer } = this.#options;
    const { accessKeyId, secretAccessKey, sessionToken } = await keys.current(signal).catch((error: unknown) => {
      if (error instanceof Error) onTrouble({ code: 'keys', error });
      throw error;
    });
    signal.throwIfAborted();
    const { url, isHead = false, upload } = request;
    const signed = aws4.sign(
      {
        service: 's3',
        region: location.region,
        method: isHead ? 'HEAD' : upload === undefined ? 'GET' : 'PUT',
        host: url.host,
        path: url.pathname + url.search,
        headers: { ...headers, 'X-Amz-Content-Sha256': sha256 },
      },
      {
        accessKeyId,
        secretAccessKey: secretAccessKey.reveal(),
        ...(sessionToken && { sessionToken: sessionToken.reveal() }),
      },
    ).headers;
    const sent: Record<string, string> = {};
    for (const [name, value] of Object.entries(signed ?? {})) {
      // The transport writes the host of the URL, which is the signed one.
      if (name.toLowerCase() !== 'host') sent[name] = String(value);
    }
    const response = await send({ ...request, headers: sent, refusal: this.#refusal }, signal);
    if (response.status < 300) onAnswer();
    return response;
  }
}
