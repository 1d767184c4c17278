/** A bucket on a loopback socket that answers as S3 does, with the faults that a test scripts. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { type Digest, digestHex } from '../../src/domain/descriptor.ts';
import type { TestBlob, TestImage } from './image.ts';

export interface BucketRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

/** Answers a request instead of the bucket, or returns false to let the bucket answer. */
type BucketScript = (request: BucketRequest, response: ServerResponse) => boolean;

interface StoredObject {
  readonly bytes: Uint8Array;
  /** Base64, as the client sent it; undefined for an object without a checksum. */
  readonly checksum: string | undefined;
}

export const ACCESS_KEY = 'AKIDFAKEBUCKET';
export const SECRET_KEY = 'canary-secret/key+of=bucket';
export const BUCKET = 'packages';

export class FakeBucket {
  readonly #server: Server;
  readonly #objects = new Map<string, StoredObject>();
  readonly #scripts: BucketScript[] = [];
  /** Oldest first. */
  readonly log: BucketRequest[] = [];
  /** The accepted access keys. */
  readonly accessKeys = new Set([ACCESS_KEY]);

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  static async start(): Promise<FakeBucket> {
    const bucket = new FakeBucket();
    await new Promise<void>((resolve) => bucket.#server.listen(0, '127.0.0.1', resolve));
    return bucket;
  }

  get endpoint(): URL {
    return new URL(`http://127.0.0.1:${String((this.#server.address() as AddressInfo).port)}`);
  }

  /** The latest script is asked first. */
  script(script: BucketScript): void {
    this.#scripts.unshift(script);
  }

  put(digest: Digest, bytes: Uint8Array, hasChecksum = true, prefix = ''): void {
    const checksum = hasChecksum ? checksumOf(bytes) : undefined;
    this.#objects.set(`${prefix}blobs/sha256/${digestHex(digest)}`, { bytes, checksum });
  }

  /** Simulates bit rot: replaces the bytes of an object, but not its checksum. */
  rot(digest: Digest, bytes: Uint8Array, rotten: Uint8Array): void {
    this.#objects.set(`blobs/sha256/${digestHex(digest)}`, { bytes: rotten, checksum: checksumOf(bytes) });
  }

  get(digest: Digest, prefix = ''): Uint8Array | undefined {
    return this.#objects.get(`${prefix}blobs/sha256/${digestHex(digest)}`)?.bytes;
  }

  publish({ digest, manifest, blobs }: TestImage): void {
    const all: readonly TestBlob[] = [
      { descriptor: { ...manifest.descriptor, digest }, bytes: manifest.bytes },
      ...blobs,
    ];
    for (const { descriptor, bytes } of all) this.put(descriptor.digest, bytes);
  }

  /** Closes the server; a second call has no effect. */
  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '', headers } = incoming;
    // A client may leave in the middle of a PUT.
    const body = await buffer(incoming).catch(() => undefined);
    if (body === undefined) return;
    const request = { method, url, headers, body };
    this.log.push(request);
    if (this.#scripts.some((script) => script(request, response))) return;
    this.#answer(request, response);
  }

  #answer({ method, url, headers, body }: BucketRequest, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(url, this.endpoint);
    const key = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/\d{8}\/[\w-]+\/s3\/aws4_request, /.exec(
      headers.authorization ?? '',
    )?.[1];
    if (key === undefined || !this.accessKeys.has(key)) {
      refuse(response, 403, key === undefined ? 'AccessDenied' : 'InvalidAccessKeyId');
      return;
    }
    const [, bucket, ...path] = pathname.split('/');
    if (bucket !== BUCKET) refuse(response, 404, 'NoSuchBucket');
    else if (searchParams.has('list-type')) response.end('<ListBucketResult></ListBucketResult>');
    else if (method === 'PUT') this.#take(path.join('/'), headers, body, response);
    else this.#give(path.join('/'), method, headers, response);
  }

  #take(key: string, headers: BucketRequest['headers'], body: Buffer, response: ServerResponse): void {
    const checksum = headers['x-amz-checksum-sha256'];
    const isSigned = headers['x-amz-content-sha256'] === createHash('sha256').update(body).digest('hex');
    if (!isSigned || (checksum !== undefined && checksum !== checksumOf(body))) {
      refuse(response, 400, isSigned ? 'BadDigest' : 'XAmzContentSHA256Mismatch');
      return;
    }
    this.#objects.set(key, { bytes: body, checksum: typeof checksum === 'string' ? checksum : undefined });
    response.end();
  }

  #give(key: string, method: string, { range = '' }: BucketRequest['headers'], response: ServerResponse): void {
    const object = this.#objects.get(key);
    if (object === undefined) {
      refuse(response, 404, 'NoSuchKey');
      return;
    }
    const { bytes, checksum } = object;
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
    const end = last === undefined ? bytes.byteLength : Math.min(Number(last) + 1, bytes.byteLength);
    const part = bytes.subarray(Number(first ?? 0), end);
    if (first !== undefined) {
      const total = String(bytes.byteLength);
      response.setHeader('content-range', `bytes ${first}-${String(end - 1)}/${total}`);
    } else if (checksum !== undefined) response.setHeader('x-amz-checksum-sha256', checksum);
    response.writeHead(first === undefined ? 200 : 206, { 'content-length': part.byteLength });
    response.end(method === 'HEAD' ? undefined : part);
  }
}

export function checksumOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('base64');
}

export function refuse(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { 'content-type': 'application/xml' });
  response.end(`<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>no</Message></Error>`);
}
