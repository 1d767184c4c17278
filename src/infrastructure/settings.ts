/** The settings, parsed once; config/default.yaml describes each of them. */
import * as z from 'zod';
import { parseTrustedRealm } from '../adapters/registry/auth/realm.ts';
import { mirrorsSchema } from '../adapters/sources/mirrors-schema.ts';
import { registriesSchema } from '../adapters/static/registries-schema.ts';
import { isLoopback, type ListenAddress, parseListenAddress } from '../adapters/http/server/http-server.ts';
import { parsePlatform } from '../domain/index-entry.ts';
import { parseQuantity } from '../domain/quantity.ts';
import { bucketSchema, checkBucket } from '../adapters/s3/bucket-schema.ts';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;

/** A text that `parse` understands, or an issue with `complaint`. */
function parsed<Value>(parse: (text: string) => Value | undefined, complaint: string) {
  return z.coerce.string().transform((text, context): Value => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.issues.push({ code: 'custom', message: complaint, input: text });
    return z.NEVER;
  });
}

/** As the API server takes it in a path and a selector. */
const objectName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, 'must be the name of a Kubernetes object');

/** A path, and not what is in the file. */
function pathOf(content: string) {
  return z.string().refine((text) => !text.includes('-----BEGIN '), `is ${content} itself, not a path`);
}

const certificatePath = pathOf('the certificate');

const seconds = z.number().positive().max(3600);

/** Trimmed as the Go implementation trims it. It is a part of a path, so it holds nothing that a URL would escape. */
const clusterUUID = parsed((text) => {
  const trimmed = text.replace(/^[\s/]+|[\s/]+$/g, '');
  return /^[\w.-]{0,128}$/.test(trimmed) ? trimmed : undefined;
}, 'must be a UUID: letters, digits and hyphens');

const bootstrap = z
  .strictObject({
    listenAddress: parsed(
      (text): ListenAddress | 'off' | undefined => (text === '' ? 'off' : parseListenAddress(text)),
      'must be host:port or :port, or empty for no such port',
    ),
    clusterUUID,
    allowWithoutUUID: z.boolean(),
  })
  .superRefine(({ listenAddress, clusterUUID: uuid, allowWithoutUUID }, context) => {
    if (listenAddress === 'off' || uuid !== '' || allowWithoutUUID || isLoopback(listenAddress)) return;
    const message =
      'is empty, so any machine that reaches bootstrap.listenAddress gets the program; give the UUID of the cluster, or set bootstrap.allowWithoutUUID';
    context.addIssue({ code: 'custom', path: ['clusterUUID'], message });
  });

export const settingsSchema = z.strictObject({
  server: z.strictObject({
    listenAddress: parsed(parseListenAddress, 'must be host:port or :port'),
    shutdownTimeoutSeconds: z.number().min(0).max(3600),
    maxConnections: z.int().min(128).max(65_536),
    maxSocketMemory: parsed(parseQuantity, 'must be a size such as 100Mi, or 0'),
    distribution: z.strictObject({ enabled: z.boolean() }),
    tls: z
      .strictObject({
        certificate: certificatePath,
        key: pathOf('the key'),
        clientCA: certificatePath,
        clientNames: z.array(z.string().min(1)).min(1),
      })
      .refine(
        ({ certificate, key, clientCA }) => new Set([certificate, key, clientCA].map((file) => file === '')).size === 1,
        { message: 'needs all three files or none' },
      ),
    certificates: z.array(
      z.strictObject({
        role: z.string().regex(/^[a-z_]+$/, 'must be a word of small letters and _'),
        certificate: certificatePath.min(1),
      }),
    ),
  }),
  bootstrap,
  store: z.strictObject({
    enabled: z.boolean(),
    directory: z.string().min(1),
    maxSize: parsed(parseQuantity, 'must be a size such as 1Gi, 500M or 1000000'),
    scrubRate: parsed(parseQuantity, 'must be bytes per second such as 8Mi, or 0'),
  }),
  registry: z
    .strictObject({
      gateway: z.enum(['oci', 'oci-layout', 'bucket']),
      platform: parsed(parsePlatform, 'must be os/architecture, such as linux/amd64'),
      trustedRealms: z.array(
        parsed(
          parseTrustedRealm,
          'must be the host of a token server, such as auth.example.com or auth.example.com:8443',
        ),
      ),
      parallelDownloads: z.int().min(1).max(256),
      timeouts: z.strictObject({
        connectSeconds: seconds,
        headersSeconds: seconds,
        idleSeconds: seconds,
        retrySeconds: z.number().min(0).max(60),
      }),
      mirrors: mirrorsSchema,
      sources: z.strictObject({
        patienceMilliseconds: z.int().min(10).max(60_000),
        minimumRate: parsed(parseQuantity, 'must be bytes per second such as 4Mi, or 0'),
        restSeconds: seconds,
      }),
      ociLayout: z.strictObject({ directory: z.string().min(1) }),
      bucket: bucketSchema,
      signature: z
        .strictObject({ mode: z.enum(['off', 'report', 'enforce']), keys: pathOf('the key'), roots: certificatePath })
        .refine(({ mode, keys, roots }) => mode === 'off' || keys !== '' || roots !== '', {
          message: 'needs keys or roots, by which signatures are verified',
        }),
    })
    .superRefine(checkBucket)
    .refine(({ gateway, mirrors }) => gateway === 'oci' || mirrors.length === 0, {
      path: ['mirrors'],
      message: 'needs registry.gateway: oci',
    }),
  credentials: z
    .strictObject({
      source: z.enum(['static', 'kubernetes']),
      registries: registriesSchema,
      kubernetes: z.strictObject({
        kubeconfig: z.string(),
        secret: z.strictObject({ namespace: objectName, name: objectName }),
        events: z.boolean(),
        agent: z.strictObject({ ca: certificatePath.min(1), storeOnRefusal: z.boolean() }),
      }),
    })
    .superRefine(({ source, registries: list, kubernetes }, context) => {
      const complain = (path: string[], message: string): void => {
        context.addIssue({ code: 'custom', path, message });
      };
      if (source !== 'kubernetes' && kubernetes.kubeconfig !== '') {
        complain(['kubernetes', 'kubeconfig'], 'needs credentials.source: kubernetes');
      }
      if (source !== 'static' && list.length > 0) complain(['registries'], 'needs credentials.source: static');
    }),
  log: z.strictObject({ level: z.enum(LOG_LEVELS) }),
});

export type Settings = z.output<typeof settingsSchema>;
