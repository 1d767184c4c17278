import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect } from 'chai';
import type { OptionsInit, Response } from 'got';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { problemOf } from '../../src/adapters/http/server/problem.ts';
import { eventually } from '../support/eventually.ts';
import { startExampleRegistry } from '../support/example-registry.ts';
import { FakeKubeApi } from '../support/fake-kube-api.ts';
import type { FakeRegistry } from '../support/fake-registry.ts';
import {
  concretePath,
  exampleRequests,
  type ExampleRequest,
  parseOpenApi,
  type ResponseObject,
} from '../support/openapi.ts';
import { ServiceProcess } from '../support/service-process.ts';

const ROOT = join(import.meta.dirname, '../..');

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const api = parseOpenApi(read('docs/openapi.yaml'));
const requests = exampleRequests(api)
  // The registry asks for 7 s of patience once, and the second request would be told of the rest of them.
  .filter(({ path, example }) => path === '/package' || example !== 'throttled');
const ajv = new Ajv2020({ coerceTypes: true, allErrors: true });

/** Headers of the connection, not of this interface. */
const CONNECTION_HEADERS = ['date', 'connection', 'keep-alive', 'content-type'];

describe('docs/openapi.yaml', () => {
  let registry: FakeRegistry;
  let cluster: FakeKubeApi;
  let home: string;
  /** Has an API server with a PackageRepository. */
  let known: FakeKubeApi;
  let inCluster: ServiceProcess;
  let service: ServiceProcess;
  /** Has an API server that cannot list anything. */
  let starting: ServiceProcess;
  /** Leaves its registry alone once it has been told to. */
  let throttled: ServiceProcess;
  before(async function () {
    this.timeout(60_000);
    registry = await startExampleRegistry();
    const registries = [
      { repo: `${registry.host}/deckhouse/ee`, default: true, scheme: 'HTTP' },
      { repo: 'registry.example.com/deckhouse/ee' },
    ];
    const settings = {
      credentials: { registries },
      registry: { timeouts: { headersSeconds: 0.5, retrySeconds: 0 } },
      server: { distribution: { enabled: true } },
    };
    service = await ServiceProcess.start({ settings });
    throttled = await ServiceProcess.start({ settings });
    cluster = await FakeKubeApi.start();
    cluster.listStatus = 503;
    home = await mkdtemp(join(tmpdir(), 'openapi-'));
    await writeFile(join(home, 'kubeconfig'), cluster.config.exportConfig());
    known = await FakeKubeApi.start();
    known.putPackageRepository('main', { repo: `${registry.host}/packages`, scheme: 'HTTP' });
    await writeFile(join(home, 'known'), known.config.exportConfig());
    const credentials = { source: 'kubernetes' };
    const flags = (name: string): string[] => ['--kubeconfig', join(home, name)];
    starting = await ServiceProcess.start({ settings: { credentials }, flags: flags('kubeconfig') });
    inCluster = await ServiceProcess.start({ settings: { ...settings, credentials }, flags: flags('known') });
    await eventually(async () => {
      expect((await inCluster.client('v1/packages/main/console/metadata/icon')).statusCode).to.equal(200);
    });
  });
  after(async () => {
    await service.close();
    await starting.close();
    await inCluster.close();
    await throttled.close();
    await cluster.close();
    await known.close();
    await registry.close();
    await rm(home, { recursive: true });
  });

  function send({ method, path, query, headers, example }: ExampleRequest): Promise<Response<Uint8Array>> {
    const others: Record<string, ServiceProcess> = { 'before-the-first-list': starting, throttled };
    const { client } = others[example] ?? (path.startsWith('/v1/packages/') ? inCluster : service);
    return client(path.slice(1), {
      method,
      searchParams: query,
      headers,
      responseType: 'buffer',
      followRedirect: false,
    });
  }

  for (const request of requests) {
    it(`matches the answer to ${request.method} ${request.template}: ${request.status}, ${request.example}`, async () => {
      const answer = await send(request);
      expect(answer.statusCode, textOf(answer)).to.equal(Number(request.status));
      expectHeaders(answer, request.response, request.example);
      expectBody(answer, request.response, request.example);
    });
  }

  it('matches the answers to HEAD at each path with a GET', async () => {
    // HEAD has no ranges.
    const whole = requests.filter(
      ({ method, path, status }) => method === 'GET' && path !== '/package' && status !== '206',
    );
    for (const request of whole) {
      const answer = await send({ ...request, method: 'HEAD' });
      expect(answer.statusCode).to.equal(Number(request.status));
      expectHeaders(answer, request.response, request.example);
    }
  });

  it('matches the refusals of invalid HTTP requests at each path', async () => {
    const refused: [status: number, options: Pick<OptionsInit, 'method' | 'headers' | 'searchParams'>][] = [
      [400, { headers: { host: 'two hosts' } }],
      [405, { method: 'DELETE' }],
      [414, { searchParams: { x: 'x'.repeat(8192) } }],
      [417, { headers: { expect: 'the-impossible' } }],
    ];
    for (const [template, { parameters, get }] of Object.entries(api.paths)) {
      const path = concretePath(template, [...(parameters ?? []), ...(get.parameters ?? [])]);
      const response = get.responses['4XX'];
      if (response === undefined) throw new Error(`no 4XX at ${path}`);
      for (const [status, options] of refused) {
        for (const accept of ['*/*', 'application/json']) {
          const answer = await service.client.extend({ headers: { accept } }).extend(options)(path.slice(1), {
            responseType: 'buffer',
          });
          expect(answer.statusCode, path).to.equal(status);
          expectHeaders(answer, response);
          expectBody(answer, response);
        }
      }
    }
  });

  it('has an example of each answer that a client can cause', () => {
    const shown = requests.map(({ method, template, status }) => `${method} ${template} ${status}`);
    const documented = Object.entries(api.paths).flatMap(([path, item]) =>
      Object.keys(item.get.responses).map((status) => `GET ${path} ${status}`),
    );
    expect(documented.filter((answer) => !/([45]XX|500)$/.test(answer) && !shown.includes(answer))).to.deep.equal([]);
  });

  it('lists all error codes, and has the version of the package', () => {
    const { code } = (api.components.schemas['Problem'] as { properties: { code: { enum: string[] } } }).properties;
    const source = ['src/domain/errors.ts', 'src/adapters/http/server/problem.ts'].map(read).join('\n');
    const codes = [...source.matchAll(/^ {2}(?:\| ')?([A-Z]+(?:_[A-Z]+)*)(?:'|: \d)/gm)].map(([, name]) => name);
    expect([...new Set(codes), problemOf(new Error()).code].sort()).to.deep.equal([...code.enum].sort());
    expect(api.info.version).to.equal((JSON.parse(read('package.json')) as { version: string }).version);
  });
});

function expectHeaders({ headers }: Response<Uint8Array>, response: ResponseObject, example = ''): void {
  const documented = Object.entries(response.headers ?? {});
  const names = documented.map(([name]) => name.toLowerCase());
  const strangers = Object.keys(headers).filter((name) => ![...names, ...CONNECTION_HEADERS].includes(name));
  expect(strangers, 'headers that are not documented').to.deep.equal([]);
  for (const [name, { required = false, schema, examples = {} }] of documented) {
    const value = headers[name.toLowerCase()];
    if (value === undefined) expect(required, `${name} is missing`).to.equal(false);
    else expectValid(schema, value, name);
    const shown = examples[example];
    if (shown !== undefined) expect(value, name).to.equal(String(shown.value));
  }
}

function expectBody({ headers, body }: Response<Uint8Array>, { content }: ResponseObject, example = ''): void {
  if (content === undefined) {
    expect(body).to.have.lengthOf(0);
    return;
  }
  const [type = ''] = (headers['content-type'] ?? '').split(';');
  const media = content[type];
  if (media === undefined) throw new Error(`${type} is not documented`);
  const text = textOf({ body });
  const value: unknown = type.endsWith('json') ? JSON.parse(text) : text;
  expectValid(media.schema, value, type);
  const shown = media.examples?.[example];
  if (shown?.externalValue !== undefined) {
    expect(Buffer.compare(body, readFileSync(join(ROOT, 'docs', shown.externalValue)))).to.equal(0);
  } else if (shown?.value !== undefined) expect(value).to.deep.equal(shown.value);
}

function textOf({ body }: { readonly body: Uint8Array }): string {
  return Buffer.from(body).toString();
}

function expectValid(schema: object, value: unknown, what: string): void {
  // In an object, because only members of something can be coerced.
  const valid = ajv.validate({ type: 'object', properties: { value: schema } }, { value });
  expect(valid, `${what}: ${ajv.errorsText()} in ${JSON.stringify(value)}`).to.equal(true);
}
