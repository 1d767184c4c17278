/** Makes the gateway to a bucket for tests: with short time-outs and without a proxy. */
import { Secret } from '../../src/domain/credential.ts';
import { S3Bucket, type S3BucketOptions, senderTo } from '../../src/adapters/s3/s3-bucket.ts';
import type { SigningKeySource } from '../../src/adapters/s3/s3-credentials.ts';
import { S3Gateway } from '../../src/adapters/s3/s3-gateway.ts';
import { S3Location } from '../../src/adapters/s3/s3-location.ts';
import { ACCESS_KEY, BUCKET, SECRET_KEY } from './fake-bucket.ts';

export interface BucketOverrides {
  readonly endpoint: URL;
  readonly name?: string;
  readonly prefix?: string;
  readonly region?: string;
  readonly pathStyle?: boolean;
  readonly ca?: readonly string[];
  readonly keys?: SigningKeySource;
  readonly onTrouble?: S3BucketOptions['onTrouble'];
  readonly environment?: Readonly<Record<string, string>>;
  /** The time-out of each wait. */
  readonly patienceMs?: number;
}

export const IDLE_MS = 1000;

export function keysOf(accessKeyId: string, secret: string): SigningKeySource {
  const keys = { accessKeyId, secretAccessKey: new Secret(secret) };
  return { current: () => Promise.resolve(keys), refused: () => undefined };
}

export function makeBucket({
  name = BUCKET,
  prefix = '',
  region = 'us-east-1',
  pathStyle = true,
  ca = [],
  keys = keysOf(ACCESS_KEY, SECRET_KEY),
  onTrouble = () => undefined,
  environment = {},
  patienceMs = IDLE_MS,
  ...given
}: BucketOverrides): S3Bucket {
  const location = new S3Location({ ...given, name, prefix, region, pathStyle, ca });
  const send = senderTo(location.server, {
    connectTimeoutMs: patienceMs,
    headersTimeoutMs: patienceMs,
    idleTimeoutMs: patienceMs,
    retryTimeoutMs: 0,
    userAgent: 'registry-packages-proxy/test',
    environment,
  });
  return new S3Bucket({ location, keys, send, onTrouble, onAnswer: () => undefined });
}

export function makeS3Gateway(
  bucket: S3Bucket,
  onSeen: (digest: string, isThere: boolean) => void = () => undefined,
  idleTimeoutMs = IDLE_MS,
): S3Gateway {
  return new S3Gateway({ bucket, idleTimeoutMs, onSeen });
}
