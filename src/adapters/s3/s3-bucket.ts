/** Signed requests for the objects of one bucket (AWS Signature Version 4, by aws4). */
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

/** The bucket refuses the keys, or is not there: a mistake of the configuration, for an operator. */
export interface BucketTrouble {
  readonly code: string;
  readonly error: Error;
}

export interface S3BucketOptions {
  readonly location: S3Location;
  readonly keys: SigningKeySource;
  readonly send: (request: HttpRequest, signal: AbortSignal) => Promise<HttpResponse>;
  readonly onTrouble: (trouble: BucketTrouble) => void;
  /** Hears of each answer that the bucket gives as it should. */
  readonly onAnswer: () => void;
}

/** The object of a digest: as it must be, another one, or none. */
export type ObjectState = 'there' | 'other' | 'absent';

const EMPTY = digestHex('sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' as Digest);

/** Requests to one server, repeated for as long as the settings say, and without redirects. */
export function senderTo(
  server: S3Location['server'],
  { environment, ...settings }: S3HttpSettings,
): S3BucketOptions['send'] {
  const exchange = new RetriedExchange(server, {
    ...settings,
    trustedRealms: [],
    pools: sharePools(settings.connectTimeoutMs, environment),
    // Traces hold what others have written: they are for registries.
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

  /** The answer by which the object begins. Rejects with PackageUnknownError and the Upstream…Errors. */
  async get(
    digest: Digest,
    operation: 'manifest' | 'blob',
    request: Pick<HttpRequest, 'headers' | 'patienceMs' | 'isBulk'>,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const { location } = this.#options;
    const sent = { ...request, asked: { operation, host: this.host }, url: location.objectOf(digest) };
    const response = await this.#send(sent, { ...request.headers, ...CHECKSUM_MODE }, signal);
    // 416: the range begins behind the end of an object that is too short.
    if (![200, 206, 416].includes(response.status)) throw await this.#refusal(response);
    return response;
  }

  /** Whether the object has the size and, as far as the server knows one, the checksum of the blob. */
  async stateOf(digest: Digest, size: number, signal: AbortSignal): Promise<ObjectState> {
    const headers = await this.#head(digest, signal);
    if (headers === undefined) return 'absent';
    const isRight = headers['content-length'] === String(size) && (storedDigest(headers) ?? digest) === digest;
    return isRight ? 'there' : 'other';
  }

  /** Bytes of the object. Rejects as `get` does. */
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
    // HEAD has no body that would say more.
    if (status !== 200 && status !== 404) throw await this.#refusal(response);
    discard(body);
    return status === 200 ? headers : undefined;
  }

  /**
   * Writes the object, over one that is there. The sha256 is signed and sent as checksum: servers that ignore the one refuse
   * other bytes by the other. Without a condition (ADR 38).
   */
  async put(digest: Digest, upload: Upload, signal: AbortSignal): Promise<void> {
    const { location } = this.#options;
    const sent = { asked: this.#asked('object'), url: location.objectOf(digest), upload };
    const response = await this.#send(sent, { [CHECKSUM]: checksumOf(digest) }, signal, digestHex(digest));
    if (response.status !== 200) throw await this.#refusal(response);
    discard(response.body);
  }

  /** Rejects with the reason for which the bucket cannot be used. */
  async check(signal: AbortSignal): Promise<void> {
    const { location } = this.#options;
    const response = await this.#send({ asked: this.#asked('bucket'), url: location.listing }, {}, signal);
    if (response.status !== 200) {
      const { error } = await refusalOf(response);
      // The listing of a bucket is unknown only when the bucket is.
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

  /** Signs all headers but `range`, which the library leaves out. */
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
      // The transport writes it as it is signed: that of the URL.
      if (name.toLowerCase() !== 'host') sent[name] = String(value);
    }
    const response = await send({ ...request, headers: sent, refusal: this.#refusal }, signal);
    if (response.status < 300) onAnswer();
    return response;
  }
}
