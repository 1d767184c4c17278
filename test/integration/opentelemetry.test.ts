import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { copyFileSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { FakeRegistry, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { type Span, SpanCollector } from '../support/span-collector.ts';

const ROOT = join(import.meta.dirname, '../..');
const [SERVER, CLIENT] = [2, 3];
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';
const run = promisify(execFile);

describe('examples/opentelemetry.mjs', () => {
  let place: string;
  let collector: SpanCollector;
  let registry: FakeRegistry;
  let storage: FakeRegistry;
  let service: ServiceProcess;
  before(async function () {
    place = await mkdtemp(join(tmpdir(), 'opentelemetry-'));
    copyFileSync(join(ROOT, 'examples/opentelemetry.mjs'), join(place, 'opentelemetry.mjs'));
    const page = readFileSync(join(ROOT, 'docs/opentelemetry.md'), 'utf8');
    const commands = /^npm init --yes\nnpm install .*$/m.exec(page)?.[0] ?? 'false';
    try {
      await run('sh', ['-ec', commands], { cwd: place });
    } catch (error) {
      if (process.env['REQUIRE_PEERS'] === '1') throw error;
      // The test needs the package registry to install the packages.
      this.skip();
    }
    await run(process.execPath, [join(ROOT, 'tools/build.ts')]);
    [registry, storage] = [await FakeRegistry.start({ auth: 'bearer' }), await FakeRegistry.start()];
    collector = await SpanCollector.start();
    const repo = `${registry.host}/deckhouse/ee`;
    service = await ServiceProcess.start({
      main: join(ROOT, 'dist/start.mjs'),
      settings: {
        credentials: { registries: [{ repo, default: true, scheme: 'HTTP', username: USERNAME, password: PASSWORD }] },
      },
      environment: {
        NODE_OPTIONS: `--import=${join(place, 'opentelemetry.mjs')}`,
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      },
    });
  });
  after(async () => {
    await rm(place, { recursive: true });
    await (service as ServiceProcess | undefined)?.close();
    for (const peer of [collector, registry, storage] as ({ close: () => Promise<void> } | undefined)[])
      await peer?.close();
  });

  it('makes spans for a request and its requests to the registry in the trace of the client, and none for probes', async () => {
    const image = makePackage(3_000_000);
    registry.publish(image);
    registry.script(({ url, headers }, response) => {
      if (!url.includes('/blobs/') || headers.authorization === undefined) return false;
      response.writeHead(307, { location: `${storage.origin}/bucket?signature=canary` }).end();
      return true;
    });
    storage.script((_request, response) => {
      response.end(image.layer.bytes);
      return true;
    });
    const ask = async (id: string, headers: Record<string, string>): Promise<Record<string, unknown>> => {
      await service.client(`package?digest=${image.digest}`, { headers: { ...headers, 'x-request-id': id } }).buffer();
      return service.logged('request', { request_id: id });
    };
    const miss = await ask('miss', { traceparent: `00-${TRACE}-${PARENT}-01`, tracestate: 'rojo=1' });
    const hit = await ask('hit', {});
    await service.client('healthz');
    expect(await service.end()).to.equal(0);

    const { spans } = collector;
    const servers = spans.filter(({ kind }) => kind === SERVER);
    const parents = servers.map(({ traceId, parentSpanId }) => ({ traceId, parentSpanId }));
    expect(parents).to.have.deep.members([
      { traceId: TRACE, parentSpanId: PARENT },
      { traceId: hit['trace_id'], parentSpanId: undefined },
    ]);
    expect(miss).to.include({ cache: 'miss', trace_id: TRACE });
    expect(hit).to.include({ cache: 'hit' });

    const clients = spans.filter(({ kind }) => kind === CLIENT);
    const server = servers.find(({ traceId }) => traceId === TRACE);
    for (const { traceId, parentSpanId } of clients) {
      expect({ traceId, parentSpanId }).to.deep.equal({ traceId: TRACE, parentSpanId: server?.spanId });
    }
    // Each request has one header, which only a span sets.
    const asked = [...registry.log, ...storage.log];
    expect(asked.map(({ headers }) => headers['traceparent'])).to.have.members(
      clients.map(({ spanId }) => `00-${TRACE}-${spanId}-01`),
    );
    expect(asked).to.have.lengthOf(5);
    expect(clients.map(urlOf)).to.include.members([`${registry.origin}/token`, `${storage.origin}/bucket`]);
    expect(JSON.stringify(spans)).not.to.match(/canary|signature/);
  });
});

function urlOf({ attributes }: Span): string | undefined {
  return attributes.find(({ key }) => key === 'url.full' || key === 'http.url')?.value.stringValue;
}
