/** The log of a service after each case: each outcome of a request, a changed level, a cluster with mistakes. */
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import got from 'got';
import { stringify } from 'yaml';
import { digestOf } from '../../src/domain/descriptor.ts';
import { eventually } from './eventually.ts';
import { ACCESS_KEY, BUCKET, FakeBucket, SECRET_KEY } from './fake-bucket.ts';
import { FakeKubeApi } from './fake-kube-api.ts';
import { FakeRegistry } from './fake-registry.ts';
import { bytesOf, encode, makeImage, makePackage } from './image.ts';
import { publishTags } from './published-tags.ts';
import { OciLayout } from './oci-layout.ts';
import { runProgram } from './program.ts';
import { rejection } from './rejection.ts';
import { type ServiceOptions, ServiceProcess } from './service-process.ts';
import { makeKeyPair, SignatureShelf, simpleClaim, simpleSigning } from './signing.ts';

export type Line = Readonly<Record<string, unknown>>;

/** The id of the one request with a trace. */
export const TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736';

const MIB = 1024 * 1024;

export async function loggedLines(): Promise<Line[]> {
  return [
    ...(await linesOfRequests()),
    ...(await linesOfImages()),
    ...(await linesOfCluster()),
    ...(await linesOfLayout()),
    ...(await linesOfHardenedLoopback()),
    ...(await linesOfBootstrapPort()),
    ...(await linesOfSignatures()),
    ...(await linesOfFiles()),
    ...(await linesOfBucket()),
    ...(await linesOfMirrors()),
    ...(await linesOfFailedStart()),
  ];
}

async function linesOfRequests(): Promise<Line[]> {
  const registry = await FakeRegistry.start();
  const [image, arriving, wrong] = [1, 2, 3].map((seed) => makePackage(MIB, seed)) as [Image, Image, Image];
  const large = makeImage([bytesOf(9 * MIB)]);
  registry.publish(image, arriving, wrong, large);
  const [asked, go] = [deferred(), deferred()];
  registry.script(({ url }, response) => {
    if (url.includes('/silent/')) return true;
    if (url.includes('/broken/')) response.writeHead(500).end();
    else if (url.includes('/throttled/')) response.writeHead(429, { 'retry-after': '60' }).end();
    else if (url.endsWith(wrong.layer.descriptor.digest)) response.end(bytesOf(MIB, 9));
    else if (url.endsWith(arriving.layer.descriptor.digest)) {
      response.writeHead(200, { 'content-length': MIB }).write(arriving.layer.bytes.subarray(0, MIB / 2));
      asked.resolve(undefined);
      void go.promise.then(() => response.end(arriving.layer.bytes.subarray(MIB / 2)));
    } else return false;
    return true;
  });
  const settings = {
    log: { level: 'debug' },
    store: { directory: 'cache', maxSize: '8Mi' },
    registry: { timeouts: { headersSeconds: 0.5, retrySeconds: 0 } },
    credentials: {
      registries: [
        { repo: `${registry.host}/modules`, default: true, scheme: 'HTTP' },
        {
          repo: 'registry.example/modules',
          dockerCfg: Buffer.from('{"auths":{"other.example":{}}}').toString('base64'),
        },
      ],
    },
  };
  const service = await ServiceProcess.start({ settings });
  const get = (digest: string, rest = '', headers: Record<string, string> = {}): Promise<unknown> =>
    service.client(`package?digest=${digest}${rest}`, { headers }).buffer();
  const unknown = makePackage(1, 4).digest;

  await get(image.digest, '', { traceparent: `00-${TRACE_ID}-00f067aa0ba902b7-01` });
  await get(image.digest);
  await get(image.digest, '', { range: 'bytes=0-9' });
  await get(image.digest, '', { range: `bytes=${String(MIB)}-` });
  await get(image.digest, '', { 'if-none-match': '*' });
  await service.client.head(`package?digest=${image.digest}`);
  await get(large.digest);
  await get('latest');
  await get(unknown);
  await get(unknown, '&repository=other.example/modules');
  for (const path of ['silent', 'broken']) await get(unknown, `&path=${path}`);
  await service.client.put('package');
  for (const path of ['healthz', 'readyz', 'metrics', 'nowhere']) await service.client(path);
  // The service answers with an error or breaks off, which depends on the bytes before the fault was found.
  await get(wrong.digest).catch(() => undefined);
  await service.logged('blob not kept');

  const leaving = service.client.stream(`package?digest=${arriving.digest}`).on('error', () => undefined);
  await once(leaving, 'data');
  const joining = once(service.client.stream(`package?digest=${arriving.digest}`).resume(), 'end');
  leaving.destroy();
  await service.logged('request', { status: 499 });
  go.resolve(undefined);
  await joining;
  // This is the last request, because the service then pauses this host for a minute.
  await get(unknown, '&path=throttled');

  const file = join(service.cacheDirectory, '../settings.yaml');
  await writeFile(file, 'nonsense: 1\n');
  await service.logged('settings cannot be used, keeping the log level');
  await writeFile(file, stringify({ ...settings, log: { level: 'info' } }));
  await service.logged('log level changed');
  await service.end();
  const { lines } = service;
  await service.close();
  await registry.close();
  return lines;
}

/** Requests images by name; one is too large to be verified before its first byte is sent. */
async function linesOfImages(): Promise<Line[]> {
  const registry = await FakeRegistry.start();
  const [image, part] = [makePackage(1000, 1), makePackage(2 * MIB, 2)];
  const { descriptor, bytes } = part.layer;
  const large = encode({ schemaVersion: 2, config: descriptor, layers: [{ ...descriptor, size: 513 * MIB }] });
  registry.publish(image);
  registry.script(({ url }, response) => {
    if (url.endsWith(digestOf(large))) response.end(large);
    else if (!url.endsWith(descriptor.digest)) return false;
    else response.writeHead(200, { 'content-length': 513 * MIB }).write(bytes);
    return true;
  });
  publishTags(registry, {
    'deckhouse/deckhouse-cli:v1.0.0': image.manifest.bytes,
    'deckhouse/deckhouse-cli:large': large,
  });
  const service = await ServiceProcess.start({
    settings: {
      credentials: { registries: [{ repo: `${registry.host}/deckhouse/ee`, default: true, scheme: 'HTTP' }] },
    },
  });
  await service.client('v1/images/deckhouse-cli/images/v1.0.0');
  const leaving = service.client.stream('v1/images/deckhouse-cli/images/large').on('error', () => undefined);
  await once(leaving, 'data');
  leaving.destroy();
  await service.logged('request', { status: 499 });
  const { lines } = service;
  await service.close();
  await registry.close();
  return lines;
}

async function linesOfFiles(): Promise<Line[]> {
  const home = await mkdtemp(join(tmpdir(), 'logs-'));
  const dockerCfgFile = join(home, 'config.json');
  await writeFile(dockerCfgFile, '{"auths":{}}');
  const registries = [{ repo: '127.0.0.1:1/modules', default: true, scheme: 'HTTP', dockerCfgFile }];
  const service = await ServiceProcess.start({
    settings: { registry: { timeouts: { retrySeconds: 0 } }, credentials: { registries } },
  });
  await writeFile(dockerCfgFile, 'no JSON');
  // A request reads the file again, at most once a second.
  await eventually(async () => {
    await service.client(`package?digest=${makePackage(1, 8).digest}`);
    if (!service.lines.some(({ msg }) => msg === 'file of a registry cannot be used')) throw new Error('not looked at');
  });
  const { lines } = service;
  await service.close();
  await rm(home, { recursive: true });
  return lines;
}

async function linesOfBucket(): Promise<Line[]> {
  const registry = await FakeRegistry.start();
  const bucket = await FakeBucket.start();
  const home = await mkdtemp(join(tmpdir(), 'logs-'));
  await writeFile(join(home, 'accessKeyID'), ACCESS_KEY);
  await writeFile(join(home, 'secretAccessKey'), SECRET_KEY);
  const [first, second] = [makePackage(1000, 6), makePackage(1000, 7)];
  registry.publish(first, second);
  bucket.accessKeys.clear();
  const { origin } = bucket.endpoint;
  const service = await ServiceProcess.start({
    settings: {
      registry: { bucket: { endpoint: origin, name: BUCKET, credentials: { directory: home } } },
      credentials: { registries: [{ repo: `${registry.host}/modules`, default: true, scheme: 'HTTP' }] },
    },
  });
  await service.logged('bucket cannot be used');
  await service.client(`package?digest=${first.digest}`);
  await service.logged('blob not written to the bucket');
  bucket.accessKeys.add(ACCESS_KEY);
  await service.client(`package?digest=${second.digest}`);
  await service.logged('bucket can be used');
  await service.logged('blob written to the bucket');
  const { lines } = service;
  await service.close();
  await bucket.close();
  await registry.close();
  await rm(home, { recursive: true });
  return lines;
}

async function linesOfCluster(): Promise<Line[]> {
  const api = await FakeKubeApi.start();
  const home = await mkdtemp(join(tmpdir(), 'logs-'));
  await writeFile(join(home, 'kubeconfig'), api.config.exportConfig());
  api.putModuleSource('broken', { repo: 'broken.example/m', ca: 'none' });
  api.putModuleSource('young', { repo: 'a.example/m' }, '2026-02-02T00:00:00Z');
  api.putModuleSource('old', { repo: 'a.example/m' }, '2026-01-01T00:00:00Z');
  api.watchStatus = 500;
  api.eventStatus = 403;
  api.forbidden.add('configmaps');
  api.putSecret({ address: '127.0.0.1:5001', path: '/a' });
  await writeFile(join(home, 'ca.crt'), 'none');
  const service = await ServiceProcess.start({
    settings: {
      credentials: { source: 'kubernetes', kubernetes: { events: true, agent: { ca: join(home, 'ca.crt') } } },
      log: { level: 'debug' },
    },
    flags: ['--kubeconfig', join(home, 'kubeconfig')],
  });
  await service.logged('watching failed, trying again');
  await service.logged('event cannot be written');
  await service.logged('listed', { resource: 'modulesources' });
  await service.logged('listing is forbidden, counting as empty');
  await service.client(`explain?digest=${makePackage(1, 5).digest}`);
  await service.logged('CA of the registry agent cannot be used');
  const { lines } = service;
  await service.close();
  await api.close();
  await rm(home, { recursive: true });
  return lines;
}

async function linesOfLayout(): Promise<Line[]> {
  const home = await mkdtemp(join(tmpdir(), 'logs-'));
  await new OciLayout(home).create();
  await writeFile(join(home, 'index.json'), encode({ schemaVersion: 2, manifests: [null] }));
  const service = await ServiceProcess.start({
    settings: { registry: { gateway: 'oci-layout', ociLayout: { directory: home } } },
  });
  const { lines } = service;
  await service.close();
  await rm(home, { recursive: true });
  return lines;
}

async function linesOfHardenedLoopback(): Promise<Line[]> {
  const home = await mkdtemp(join(tmpdir(), 'logs-'));
  const keys = async (): Promise<unknown> => runProgram('loopback-keys', '--service', home, '--sidecar', home);
  await keys();
  const path = (name: string): string => join(home, name);
  const tls = { certificate: path('tls.crt'), key: path('tls.key'), clientCA: path('ca.crt') };
  const service = await ServiceProcess.start({ settings: { server: { tls } } });
  await rejection(got(`http://127.0.0.1:${String(service.port)}/healthz`, { retry: { limit: 0 } }));
  await service.logged('clients of the loopback port refused');
  await keys();
  await service.logged('certificates of the loopback port read again');
  await rm(path('ca.crt'));
  await service.logged('certificates of the loopback port cannot be used, keeping the previous ones');
  await service.end();
  const { lines } = service;
  await service.close();
  await rm(home, { recursive: true });
  return lines;
}

async function linesOfBootstrapPort(): Promise<Line[]> {
  const service = await ServiceProcess.start({ settings: { bootstrap: { listenAddress: '127.0.0.1:0' } } });
  const { port } = await service.logged('bootstrap port is open');
  const listenAddress = `127.0.0.1:${String(port)}`;
  const other = await ServiceProcess.start({ settings: { bootstrap: { listenAddress } } });
  await other.logged('bootstrap port cannot be opened');
  const lines = [...service.lines, ...other.lines];
  await Promise.all([service.close(), other.close()]);
  return lines;
}

async function linesOfSignatures(): Promise<Line[]> {
  const home = await mkdtemp(join(tmpdir(), 'logs-'));
  const keys = join(home, 'cosign.pub');
  const signer = makeKeyPair();
  await writeFile(keys, signer.pem);
  const registry = await FakeRegistry.start();
  const [signed, unsigned] = [makePackage(10, 1), makePackage(10, 2)];
  registry.publish(signed, unsigned);
  new SignatureShelf(registry).tag(signed.digest, simpleSigning([simpleClaim(signed.digest, signer)]));
  const repo = `${registry.host}/modules`;
  const service = await ServiceProcess.start({
    settings: {
      registry: { signature: { mode: 'report', keys } },
      credentials: { registries: [{ repo, default: true, scheme: 'HTTP' }] },
    },
  });
  await service.client(`package?digest=${signed.digest}&path=a`);
  await service.client(`package?digest=${unsigned.digest}&path=a`);
  await writeFile(keys, 'none');
  await eventually(async () => {
    await service.client(`package?digest=${signed.digest}&path=a`);
    if (!service.output.includes('keys of signatures cannot be used')) throw new Error('the change is not seen yet');
  });
  const { lines } = service;
  await service.close();
  await registry.close();
  await rm(home, { recursive: true });
  return lines;
}

async function linesOfMirrors(): Promise<Line[]> {
  const home = await mkdtemp(join(tmpdir(), 'logs-'));
  const [usernameFile, passwordFile] = [join(home, 'username'), join(home, 'password')];
  await writeFile(usernameFile, 'robot');
  await writeFile(passwordFile, 'canary-before');
  const registry = await FakeRegistry.start();
  const image = makePackage(10, 1);
  registry.publish(image);
  const service = await ServiceProcess.start({
    settings: {
      registry: { mirrors: [{ of: '*', endpoint: 'http://127.0.0.1:1', usernameFile, passwordFile }] },
      credentials: { registries: [{ repo: `${registry.host}/modules`, default: true, scheme: 'HTTP' }] },
    },
  });
  await service.client(`package?digest=${image.digest}`);
  await writeFile(passwordFile, 'canary-after');
  await service.logged('credentials of the source have changed');
  await rm(passwordFile);
  await service.logged('credentials of the source cannot be used, keeping the previous ones');
  const { lines } = service;
  await service.close();
  await registry.close();
  await rm(home, { recursive: true });
  return lines;
}

async function linesOfFailedStart(): Promise<Line[]> {
  const settings: ServiceOptions['settings'] = {
    registry: { gateway: 'oci-layout', ociLayout: { directory: 'nowhere' } },
  };
  const home = await mkdtemp(join(tmpdir(), 'logs-'));
  const { message } = await rejection(ServiceProcess.start({ settings }, home));
  await rm(home, { recursive: true });
  return [JSON.parse(message.slice(message.indexOf('{'))) as Line];
}

type Image = ReturnType<typeof makePackage>;

function deferred(): PromiseWithResolvers<unknown> {
  return Promise.withResolvers();
}
