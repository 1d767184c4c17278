/** The settings, parsed once; config/default.yaml describes each of them. */
import * as z from 'zod';
import { mistaken } from '../adapters/cli/setting-mistakes.ts';
import { parseTrustedRealm } from '../adapters/registry/realm.ts';
import { mirrorsSchema } from '../adapters/sources/mirrors-schema.ts';
import { registriesSchema } from '../adapters/static/registries-schema.ts';
import { isLoopback, type ListenAddress, parseListenAddress } from '../adapters/http/server/listen-address.ts';
import { parsePlatform } from '../domain/index-entry.ts';
import { parseQuantity } from '../domain/quantity.ts';
import { bucketSchema, checkBucket } from '../adapters/s3/bucket-schema.ts';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;

/** A text or number that `parse` accepts; otherwise an issue with `complaint`. */
function parsed<Value>(parse: (text: string) => Value | undefined, complaint: string) {
  return z.unknown().transform((input, context): Value => {
    const isText = typeof input === 'string' || typeof input === 'number';
    const value = isText ? parse(String(input)) : undefined;
    if (value !== undefined) return value;
    context.issues.push({ code: 'custom', message: isText ? complaint : mistaken(complaint, input), input });
    return z.NEVER;
  });
}

/** A number from `least` to `most`; `what` describes it. */
function within(what: string, least: number, most: number) {
  const error = ({ input }: { readonly input?: unknown }): string => mistaken(`must be ${what}`, input, 'number');
  return z.number({ error }).min(least, { error }).max(most, { error });
}

function whole(least: number, most: number) {
  const what = `a whole number from ${String(least)} to ${String(most)}`;
  return within(what, least, most).refine(Number.isSafeInteger, `must be ${what}`);
}

/** A rule over fields without known mistakes; mistakes in other fields do not hide its own. */
function over(...fields: readonly string[]) {
  return {
    when: ({ value, issues }: z.core.ParsePayload): boolean =>
      typeof value === 'object' &&
      value !== null &&
      !issues.some(({ code, path = [] }) => {
        const place = path.map((name) => `${String(name)}.`).join('');
        return code !== 'unrecognized_keys' && fields.some((field) => `${field}.`.startsWith(place));
      }),
  };
}

/** Characters that the API server accepts in a path and a selector. */
const objectName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, 'must be the name of a Kubernetes object');

/** A path, instead of the content of the file. */
function pathOf(content: string) {
  return z.string().refine((text) => !text.includes('-----BEGIN '), `is ${content} itself, not a path`);
}

const certificatePath = pathOf('the certificate');

const SOME_SECONDS = 'seconds without a unit, more than 0 and at most 3600';
const seconds = within(SOME_SECONDS, 0, 3600).positive(`must be ${SOME_SECONDS}`);

/** Trimmed as in the Go implementation. It is part of a path, so it has no characters that a URL escapes. */
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
  .superRefine(
    ({ listenAddress, clusterUUID: uuid, allowWithoutUUID }, context) => {
      if (listenAddress === 'off' || uuid !== '' || allowWithoutUUID || isLoopback(listenAddress)) return;
      const message =
        'is empty, so any machine that reaches bootstrap.listenAddress gets the program; give the UUID of the cluster, or set bootstrap.allowWithoutUUID';
      context.addIssue({ code: 'custom', path: ['clusterUUID'], message });
    },
    over('listenAddress', 'clusterUUID', 'allowWithoutUUID'),
  );

export const settingsSchema = z.strictObject({
  server: z.strictObject({
    listenAddress: parsed(parseListenAddress, 'must be host:port or :port'),
    shutdownTimeoutSeconds: within('seconds without a unit, from 0 to 3600', 0, 3600),
    maxConnections: whole(128, 65_536),
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
        { message: 'needs all three files or none', ...over('certificate', 'key', 'clientCA') },
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
      parallelDownloads: whole(1, 256),
      timeouts: z.strictObject({
        connectSeconds: seconds,
        headersSeconds: seconds,
        idleSeconds: seconds,
        retrySeconds: within('seconds without a unit, from 0 to 60', 0, 60),
      }),
      mirrors: mirrorsSchema,
      sources: z.strictObject({
        patienceMilliseconds: whole(10, 60_000),
        minimumRate: parsed(parseQuantity, 'must be bytes per second such as 4Mi, or 0'),
        restSeconds: seconds,
      }),
      ociLayout: z.strictObject({ directory: z.string().min(1) }),
      bucket: bucketSchema,
      signature: z
        .strictObject({ mode: z.enum(['off', 'report', 'enforce']), keys: pathOf('the key'), roots: certificatePath })
        .refine(({ mode, keys, roots }) => mode === 'off' || keys !== '' || roots !== '', {
          message: 'needs keys or roots, by which signatures are verified',
          ...over('mode', 'keys', 'roots'),
        }),
    })
    .superRefine(checkBucket, over('gateway', 'bucket.endpoint'))
    .refine(({ gateway, mirrors }) => gateway === 'oci' || mirrors.length === 0, {
      path: ['mirrors'],
      message: 'needs registry.gateway: oci',
      ...over('gateway', 'mirrors'),
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
    .refine(({ source, kubernetes }) => source === 'kubernetes' || kubernetes.kubeconfig === '', {
      path: ['kubernetes', 'kubeconfig'],
      message: 'needs credentials.source: kubernetes',
      ...over('source', 'kubernetes.kubeconfig'),
    })
    .refine(({ source, registries }) => source === 'static' || registries.length === 0, {
      path: ['registries'],
      message: 'needs credentials.source: static',
      ...over('source', 'registries'),
    }),
  log: z.strictObject({ level: z.enum(LOG_LEVELS) }),
});

export type Settings = z.output<typeof settingsSchema>;
