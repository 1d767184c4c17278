/** RegistryGateway to an S3 bucket with blobs of all registries, stored under the keys of an OCI image layout. */
import { type Descriptor, type Digest, digestOf } from '../../domain/descriptor.ts';
import { DigestMismatchError, InvalidContentError, PackageUnknownError } from '../../domain/errors.ts';
import { MAX_MANIFEST_BYTES } from '../../domain/manifest.ts';
import type { BlobSizes, RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import type { Upstream } from '../../domain/upstream.ts';
import { downloadBlob } from '../registry/blob-download.ts';
import { readAtMost } from '../registry/body.ts';
import type { HttpResponse } from '../registry/transport/http-message.ts';
import type { Senders } from '../registry/senders.ts';
import { codeOf, failure } from '../registry/upstream-errors.ts';
import { storedDigest } from './s3-answers.ts';
import type { S3Bucket } from './s3-bucket.ts';

interface S3GatewayOptions {
  readonly bucket: Pick<S3Bucket, 'get' | 'sizeOf'>;
  readonly idleTimeoutMs: number;
  readonly senders?: Senders | undefined;
  /** Called with whether there is an object with the size of its blob and, if the server knows it, the right checksum. */
  readonly onSeen: (digest: Digest, isThere: boolean) => void;
}

export class S3Gateway implements RegistryGateway, BlobSizes {
  readonly #options: S3GatewayOptions;

  constructor(options: S3GatewayOptions) {
    this.#options = options;
  }

  async fetchManifest(_upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<Uint8Array> {
    const { idleTimeoutMs, onSeen } = this.#options;
    const { asked, body } = await this.#get(digest, 'manifest', { headers: {} }, signal);
    try {
      const bytes = await readAtMost(body, MAX_MANIFEST_BYTES, idleTimeoutMs);
      const found = digestOf(bytes);
      this.#options.senders?.sent(digest, asked);
      onSeen(digest, found === digest);
      // The bytes are verified here, because another source can still be asked.
      if (found !== digest) throw new DigestMismatchError(digest, found);
      return bytes;
    } catch (error) {
      if (codeOf(error) === 'ERR_BODY_TOO_LONG') throw new InvalidContentError('manifest is larger than 4 MiB');
      throw failure(asked, error, signal);
    }
  }

  fetchBlob(
    _upstream: Upstream,
    blob: Descriptor,
    offset: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const { idleTimeoutMs, senders, onSeen } = this.#options;
    // The client of a resumed download has received bytes and waits for the next one.
    const patience = offset > 0 ? { patienceMs: idleTimeoutMs } : {};
    const get = async (headers: Readonly<Record<string, string>>): Promise<HttpResponse> => {
      const response = await this.#get(blob.digest, 'blob', { headers, isBulk: true, ...patience }, signal);
      const { status, headers: answered } = response;
      if (status === 200) onSeen(blob.digest, answered['content-length'] === String(blob.size));
      return response;
    };
    return downloadBlob({ blob, idleTimeoutMs, signal, senders, get }, offset);
  }

  blobSize(_upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<number> {
    return this.#options.bucket.sizeOf(digest, signal);
  }

  knownRefusal(): undefined {
    return undefined;
  }

  async #get(
    digest: Digest,
    operation: 'manifest' | 'blob',
    request: Parameters<S3Bucket['get']>[2],
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const { bucket, onSeen } = this.#options;
    const response = await bucket.get(digest, operation, request, signal).catch((error: unknown) => {
      if (error instanceof PackageUnknownError) onSeen(digest, false);
      throw error;
    });
    const { status, headers, body } = response;
    const stored = storedDigest(headers) ?? digest;
    // The checksum is compared before the first byte, like the size: a client with some bytes of a wrong object must begin
    // again.
    if (status === 200 && stored !== digest) {
      body.destroy();
      this.#options.senders?.sent(digest, response.asked);
      onSeen(digest, false);
      throw new DigestMismatchError(digest, stored);
    }
    return response;
  }
}
