/** The settings of a bucket, as unparsed text. */
import * as z from 'zod';
import { InvalidUpstreamError, parseCertificates } from '../../domain/upstream.ts';
import { parseEndpoint } from './s3-location.ts';

/** An http or https URL; undefined for an empty text. */
const endpoint = z.string().transform((text, context): URL | undefined => {
  if (text === '') return undefined;
  const url = parseEndpoint(text);
  if (url !== undefined) return url;
  context.issues.push({
    code: 'custom',
    message: 'must be an http or https URL without an account, such as https://s3.example.com',
    input: '',
  });
  return z.NEVER;
});

const certificates = z.string().transform((text, context): string[] => {
  try {
    return parseCertificates(text);
  } catch (error) {
    if (!(error instanceof InvalidUpstreamError)) throw error;
    context.issues.push({ code: 'custom', message: error.message.replace(/^ca: /, ''), input: '' });
    return z.NEVER;
  }
});

export const bucketSchema = z.strictObject({
  endpoint,
  /** The rules of the Amazon S3 user guide, "Bucket naming rules"; older buckets have capitals and `_`. */
  name: z.string().regex(/^[A-Za-z0-9][\w.-]{1,61}[A-Za-z0-9]$/, 'must be the name of a bucket'),
  /** Characters that URLs do not escape, so that all clients of the bucket write the same key. */
  prefix: z
    .string()
    .max(512)
    .regex(/^(?:(?!\.{1,2}\/)[\w.-]+\/)*$/, 'must be empty or a path that ends with a slash, such as packages/'),
  region: z.string().regex(/^[a-z0-9-]{1,64}$/, 'must be the name of a region, such as us-east-1'),
  pathStyle: z.boolean(),
  ca: certificates,
  credentials: z.strictObject({
    source: z.enum(['files', 'web-identity']),
    directory: z.string().min(1),
    roleARN: z.string(),
    tokenFile: z.string(),
    tokenService: endpoint,
  }),
  write: z.boolean(),
});

export type BucketSettings = z.output<typeof bucketSchema>;

interface GatewaySettings {
  readonly gateway: 'oci' | 'oci-layout' | 'bucket';
  readonly bucket: BucketSettings;
}

export function checkBucket({ gateway, bucket }: GatewaySettings, context: z.RefinementCtx): void {
  const isGiven = bucket.endpoint !== undefined;
  const complain = (message: string): void => {
    context.addIssue({ code: 'custom', path: ['bucket', 'endpoint'], message });
  };
  if (gateway === 'bucket' && !isGiven) complain('is needed for registry.gateway: bucket');
  if (gateway === 'oci-layout' && isGiven) complain('is of no use with registry.gateway: oci-layout');
}
