import { expect } from 'chai';
import { FakeRegistry, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { type ServiceOptions, ServiceProcess } from '../support/service-process.ts';

const MIB = 1024 * 1024;
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';
const TRACEPARENT = `00-${TRACE}-${PARENT}-01`;

describe('the trace of a request', () => {
  let registry: FakeRegistry;
  let service: ServiceProcess;
  let options: ServiceOptions;
  beforeEach(async () => {
    registry = await FakeRegistry.start({ auth: 'bearer' });
    const repo = `${registry.host}/deckhouse/ee`;
    const registries = [{ repo, default: true, scheme: 'HTTP', username: USERNAME, password: PASSWORD }];
    options = { settings: { credentials: { registries } } };
    service = await ServiceProcess.start(options);
  });
  afterEach(async () => {
    await service.close();
    await registry.close();
  });

  /** Requests a digest, and returns its log line. */
  async function ask(id: string, digest: string, headers: Record<string, string>): Promise<Record<string, unknown>> {
    await service.client(`package?digest=${digest}`, { headers: { ...headers, 'x-request-id': id } }).buffer();
    return service.logged('request', { request_id: id });
  }

  /** Sends the next 200 kB of the blob and breaks off, for `times` requests. */
  function breakOff(image: ReturnType<typeof makePackage>, times: number): void {
    let breaks = times;
    registry.script(({ url, headers }, response) => {
      if (!url.includes('/blobs/') || headers.authorization === undefined || breaks-- === 0) return false;
      const begin = Number(/\d+/.exec(headers.range ?? '')?.[0] ?? 0);
      response.writeHead(begin === 0 ? 200 : 206, {
        'content-length': MIB - begin,
        ...(begin > 0 && { 'content-range': `bytes ${String(begin)}-${String(MIB - 1)}/${String(MIB)}` }),
      });
      response.write(image.layer.bytes.subarray(begin, begin + 200_000), () => response.destroy());
      return true;
    });
  }

  const told = (part: string): unknown[] => registry.requests(part).map(({ headers }) => headers['traceparent']);

  it('is logged if the client sends one or a request to a registry has one', async () => {
    const image = makePackage(1000);
    registry.publish(image);
    const miss = await ask('miss', image.digest, { traceparent: TRACEPARENT.toUpperCase() });
    expect(miss['trace_id']).to.match(/^[0-9a-f]{32}$/);
    expect(miss['trace_id']).not.to.equal(TRACE);
    expect(miss['span_id']).to.match(/^[0-9a-f]{16}$/);
    expect(await ask('hit', image.digest, {})).not.to.have.any.keys('trace_id', 'span_id');
    const named = await ask('named', image.digest, { traceparent: TRACEPARENT });
    expect(named).to.include({ cache: 'hit', trace_id: TRACE });
    expect(named).not.to.have.property('span_id');
  });

  it('is sent to the registry with each request for the token, the manifest and every piece of the blob', async () => {
    const image = makePackage(MIB);
    registry.publish(image);
    breakOff(image, 2);
    const headers = { traceparent: TRACEPARENT, tracestate: 'rojo=1', baggage: 'user=canary', 'x-b3-traceid': TRACE };
    const line = await ask('first', image.digest, headers);
    expect(line).to.include({ cache: 'miss', trace_id: TRACE });
    const traceparent = `00-${TRACE}-${String(line['span_id'])}-01`;
    expect(told('/token')).to.deep.equal([traceparent]);
    expect(told('/manifests/')).to.deep.equal([traceparent, traceparent]);
    expect(told('/blobs/')).to.deep.equal([traceparent, traceparent, traceparent]);
    for (const request of registry.log) {
      expect(request.headers).to.include({ tracestate: 'rojo=1' });
      expect(request.headers).not.to.have.any.keys('baggage', 'x-b3-traceid');
    }
    expect(await service.logged('blob kept', { blob: image.layer.descriptor.digest })).to.include({ trace_id: TRACE });
  });

  it('is sent with every piece of a package that is not cached', async () => {
    const image = makePackage(MIB);
    registry.publish(image);
    breakOff(image, 2);
    await service.end();
    service = await service.restart({ ...options, flags: ['--disable-cache'] });
    const line = await ask('first', image.digest, { traceparent: TRACEPARENT });
    expect(line).to.include({ cache: 'bypass', status: 200 });
    const traceparent = `00-${TRACE}-${String(line['span_id'])}-01`;
    expect(told('/blobs/')).to.deep.equal([traceparent, traceparent, traceparent]);
  });

  it('is a new one at the registry if the client sends none', async () => {
    const line = await ask('alone', makePackage(1).digest, {});
    expect(line['status']).to.equal(404);
    const traceparent = `00-${String(line['trace_id'])}-${String(line['span_id'])}-00`;
    expect(new Set(told('/'))).to.deep.equal(new Set([traceparent]));
  });

  it('is that of the first request of a download, also for requests that join the download', async () => {
    const image = makePackage(MIB);
    registry.publish(image);
    const asked: PromiseWithResolvers<void> = Promise.withResolvers();
    const go: PromiseWithResolvers<void> = Promise.withResolvers();
    registry.script(({ url, headers }, response) => {
      if (!url.includes('/blobs/') || headers.authorization === undefined) return false;
      asked.resolve();
      void go.promise.then(() => response.end(image.layer.bytes));
      return true;
    });
    const first = ask('first', image.digest, { traceparent: TRACEPARENT });
    await asked.promise;
    const second = ask('second', image.digest, { traceparent: TRACEPARENT.replaceAll('4', '5') });
    go.resolve();
    expect(await first).to.include({ trace_id: TRACE, cache: 'miss' });
    expect(await second).to.include({ trace_id: TRACE.replaceAll('4', '5') });
    expect(told('/blobs/')).to.have.lengthOf(1);
    expect(told('/blobs/')[0]).to.include(TRACE);
  });
});
