import { expect } from 'chai';
import { createServer as createHttpServer, type ServerResponse } from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import net, { Socket } from 'node:net';
import sinon from 'sinon';
import { Deadline, RetryGate } from '../../../../../src/adapters/registry/transport/retried-exchange.ts';
import { StoppingError, UpstreamThrottledError, UpstreamUnavailableError } from '../../../../../src/domain/errors.ts';
import { makePackage } from '../../../../support/image.ts';
import { behindGateway } from '../../../../support/behind-gateway.ts';
import { makeRegistryGateway } from '../../../../support/registry-gateway.ts';
import { rejection } from '../../../../support/rejection.ts';

const image = makePackage(200_000);

describe('RetriedExchange, behind OciRegistryGateway,', () => {
  const { start, manifest, blob, afterTest } = behindGateway(image);

  it('repeats a request after a temporary status', async () => {
    const passing = [408, 425, 429, 499, 500, 502, 503, 504, 505, 507, 511, 520, 522, 524, 530, 599];
    await Promise.all(
      passing.map(async (status) => {
        const registry = await start();
        registry.failTimes('/manifests/', { status }, { status, headers: { 'retry-after': '0' } });
        await manifest(makeRegistryGateway(), registry.upstream());
        expect(registry.log, String(status)).to.have.lengthOf(3);
      }),
    );
  });

  it('repeats a request until its time limit, with any number of attempts', async () => {
    const registry = await start();
    registry.failTimes('/manifests/', ...Array.from({ length: 6 }, () => ({ status: 502 })));
    await manifest(makeRegistryGateway({ retryTimeoutMs: 60_000 }), registry.upstream());
    expect(registry.log).to.have.lengthOf(7);
  });

  it('waits for a registry that restarts', async () => {
    const registry = await start();
    const port = Number(new URL(registry.origin).port);
    const upstream = registry.upstream();
    await registry.close();
    const outcome = manifest(makeRegistryGateway({ retryTimeoutMs: 60_000 }), upstream);
    const restarted = createHttpServer((_request, response) => response.end(image.manifest.bytes));
    setTimeout(() => restarted.listen(port, '127.0.0.1'), 300);
    afterTest(
      () =>
        new Promise((resolve) => {
          restarted.close(resolve).closeAllConnections();
        }),
    );
    expect(Buffer.compare(await outcome, image.manifest.bytes)).to.equal(0);
  });

  for (const code of ['EADDRNOTAVAIL', 'EMFILE', 'ENFILE']) {
    it(`repeats a request while this machine cannot connect (${code})`, async () => {
      const registry = await start();
      const failing = () => new Socket().destroy(Object.assign(new Error('no connection'), { code }));
      const connect = sinon.stub(net, 'connect').callThrough().onFirstCall().callsFake(failing);
      syncBuiltinESMExports();
      try {
        const bytes = await manifest(makeRegistryGateway(), registry.upstream());
        expect(Buffer.compare(bytes, image.manifest.bytes)).to.equal(0);
      } finally {
        connect.restore();
        syncBuiltinESMExports();
      }
      sinon.assert.calledTwice(connect);
    });
  }

  it('uses another connection at once if the server has closed an idle one', async () => {
    const requests = new WeakMap<Socket, number>();
    const registry = await start();
    registry.script((_request, response) => {
      const { socket } = response;
      if (socket === null) return false;
      const count = (requests.get(socket) ?? 0) + 1;
      requests.set(socket, count);
      if (count > 1) socket.resetAndDestroy();
      return count > 1;
    });
    const [gateway, upstream] = [makeRegistryGateway({ retryTimeoutMs: 0 }), registry.upstream()];
    for (let i = 0; i < 5; i++) await manifest(gateway, upstream);
    expect(registry.log).to.have.lengthOf(9);
  });

  it('repeats requests of a resumed download for longer, and obeys Retry-After', async () => {
    const gateway = makeRegistryGateway({ retryTimeoutMs: 0, idleTimeoutMs: 60_000 });
    for (const answer of [
      { status: 502 },
      { status: 503, headers: { 'retry-after': '1' } },
      { status: 429, headers: { 'retry-after': '1' } },
    ]) {
      const registry = await start();
      registry.failTimes('/blobs/', answer);
      const tail = await blob(gateway, registry.upstream(), 150_000);
      expect(Buffer.compare(tail, image.layer.bytes.subarray(150_000))).to.equal(0);
      expect(registry.log).to.have.lengthOf(2);
    }
  });

  it('waits for a resumed download no longer than for its next byte', async () => {
    const registry = await start();
    registry.failTimes('/blobs/', { status: 503, headers: { 'retry-after': '30' } });
    const error = await rejection(blob(makeRegistryGateway({ idleTimeoutMs: 29_000 }), registry.upstream(), 150_000));
    expect(error).to.be.instanceOf(UpstreamThrottledError).with.property('retryAfterSeconds', 30);
  });

  it('requests other content after a 503 with Retry-After, and not the same URL', async () => {
    const registry = await start();
    registry.failTimes('/manifests/', { status: 503, headers: { 'retry-after': '20' } });
    const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
    await rejection(manifest(gateway, upstream));
    expect(Buffer.compare(await blob(gateway, upstream), image.layer.bytes)).to.equal(0);
    expect(await rejection(manifest(gateway, upstream))).to.be.instanceOf(UpstreamThrottledError);
    expect(registry.log).to.have.lengthOf(2);
  });

  it('repeats a request after a connection that breaks before the first byte', async () => {
    const registry = await start();
    let broken = 0;
    registry.script((_request, response) => {
      if (broken++ > 0) return false;
      response.socket?.destroy();
      return true;
    });
    expect(Buffer.compare(await blob(makeRegistryGateway(), registry.upstream()), image.layer.bytes)).to.equal(0);
  });

  it('gives up at its time limit', async () => {
    for (const retryTimeoutMs of [0, 300]) {
      const registry = await start();
      registry.failTimes('/manifests/', ...Array.from({ length: 99 }, () => ({ status: 503 })));
      const error = await rejection(manifest(makeRegistryGateway({ retryTimeoutMs }), registry.upstream()));
      expect(error).to.be.instanceOf(UpstreamUnavailableError);
      expect(registry.log.length).to.be.within(retryTimeoutMs === 0 ? 1 : 2, retryTimeoutMs === 0 ? 1 : 98);
    }
  });

  it('rejects with a Retry-After that is too long for the waiting client', async () => {
    const registry = await start();
    registry.failTimes('/manifests/', { status: 503, headers: { 'retry-after': '30' } });
    const error = await rejection(manifest(makeRegistryGateway(), registry.upstream()));
    expect(error).to.be.instanceOf(UpstreamThrottledError).with.property('retryAfterSeconds', 30);
    expect(registry.log).to.have.lengthOf(1);
  });

  it('sends no more requests to a registry after a 429 with Retry-After, for any client', async () => {
    const registry = await start();
    registry.failTimes('/manifests/', { status: 429, headers: { 'retry-after': '20' } });
    const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
    await rejection(manifest(gateway, upstream));
    const error = await rejection(blob(gateway, upstream));
    expect(error).to.be.instanceOf(UpstreamThrottledError).with.property('retryAfterSeconds').that.is.within(18, 20);
    expect(registry.log).to.have.lengthOf(1);
  });

  it('waits for the longest Retry-After of several answers, in any order', async () => {
    const registry = await start();
    const held: ServerResponse[] = [];
    registry.script((_request, response) => held.push(response) <= 2);
    const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
    const outcomes = [rejection(manifest(gateway, upstream)), rejection(blob(gateway, upstream))];
    while (held.length < 2) await new Promise(setImmediate);
    held[0]?.writeHead(429, { 'retry-after': '20' }).end();
    await Promise.race(outcomes);
    held[1]?.writeHead(429, { 'retry-after': '0' }).end();
    for (const error of await Promise.all(outcomes)) expect(error).to.be.instanceOf(UpstreamThrottledError);
    expect(registry.log).to.have.lengthOf(2);
  });

  it('waits again when the first request after the wait gets another Retry-After', async () => {
    const registry = await start();
    registry.failTimes('/', ...Array.from({ length: 99 }, () => ({ status: 503, headers: { 'retry-after': '1' } })));
    const [gateway, upstream] = [makeRegistryGateway({ retryTimeoutMs: 0 }), registry.upstream()];
    await rejection(manifest(gateway, upstream));
    const outcomes = Array.from({ length: 20 }, () => rejection(manifest(gateway, upstream)));
    for (const error of await Promise.all(outcomes)) expect(error).to.be.instanceOf(UpstreamThrottledError);
    expect(registry.log.length).to.be.lessThan(12);
  });

  it('stops waiting when it is aborted', async () => {
    const registry = await start();
    registry.failTimes('/manifests/', { status: 503, headers: { 'retry-after': '2' } });
    const stopping = new AbortController();
    const reason = new StoppingError();
    const outcome = rejection(makeRegistryGateway().fetchManifest(registry.upstream(), image.digest, stopping.signal));
    setTimeout(() => {
      stopping.abort(reason);
    }, 50);
    expect(await outcome).to.equal(reason);
  });

  for (const status of [400, 403, 404, 410, 418, 501]) {
    it(`does not repeat a request after ${String(status)}`, async () => {
      const registry = await start();
      registry.failTimes('/manifests/', { status });
      await rejection(manifest(makeRegistryGateway(), registry.upstream()));
      expect(registry.log).to.have.lengthOf(1);
    });
  }
});

const url = (path: string, host = 'registry.example'): URL => new URL(path, `https://${host}`);

describe('RetryGate', () => {
  let clock: sinon.SinonFakeTimers;
  beforeEach(() => {
    clock = sinon.useFakeTimers({ toFake: ['performance'] });
  });
  afterEach(() => {
    clock.restore();
  });

  it('closes a host for a 429, and no other host', () => {
    const gate = new RetryGate();
    gate.close(url('/a'), 429, 5);
    expect(gate.opensAt(url('/b'))).to.equal(5000);
    expect(gate.opensAt(url('/a', 'other.example'))).to.equal(0);
    expect(gate.opensAt(url('/a', 'registry.example:444'))).to.equal(0);
  });

  for (const status of [503, 502, 500]) {
    it(`closes only the URL for a ${String(status)}`, () => {
      const gate = new RetryGate();
      gate.close(url('/a'), status, 5);
      expect(gate.opensAt(url('/a'))).to.equal(5000);
      expect(gate.opensAt(url('/b'))).to.equal(0);
    });
  }

  it('uses the longest of several waits', () => {
    const gate = new RetryGate();
    gate.close(url('/a'), 429, 5);
    gate.close(url('/a'), 429, 1);
    gate.close(url('/a'), 503, 2);
    expect(gate.opensAt(url('/a'))).to.equal(5000);
  });

  it('drops waits that have ended when it gets another one', () => {
    const gate = new RetryGate();
    for (let i = 0; i < 100; i++) gate.close(url(`/${String(i)}`), 503, 1);
    clock.tick(1000);
    gate.close(url('/a'), 429, 1);
    expect(gate.size).to.equal(1);
  });

  it('remembers at most the last thousand waits', () => {
    const gate = new RetryGate();
    for (let i = 0; i <= 1000; i++) gate.close(url(`/${String(i)}`), 503, 60);
    expect(gate.size).to.equal(1000);
    expect(gate.opensAt(url('/0'))).to.equal(0);
    expect(gate.opensAt(url('/1000'))).to.equal(60_000);
  });
});

describe('Deadline', () => {
  it('begins at its first use, and does not change at later ones', () => {
    const clock = sinon.useFakeTimers({ toFake: ['performance'] });
    try {
      const deadline = new Deadline(5000);
      clock.tick(1000);
      expect(deadline.at).to.equal(6000);
      clock.tick(1000);
      expect(deadline.at).to.equal(6000);
    } finally {
      clock.restore();
    }
  });
});
