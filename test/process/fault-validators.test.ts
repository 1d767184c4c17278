import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { answering, resettingAfter } from '../../bench/faults/failpoints/registry/behaviours.ts';
import { ScriptedRegistry } from '../../bench/faults/failpoints/registry/scripted-registry.ts';
import type { Got } from '../../bench/faults/traffic/client.ts';
import { unexpected } from '../../bench/faults/traffic/trials.ts';
import { addUp, type Counted } from '../../bench/faults/validate/accounts.ts';
import { type Inspected, violationsAtRest } from '../../bench/faults/validate/at-rest.ts';
import { Metrics } from '../../bench/faults/validate/metrics.ts';
import { PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';

const run = promisify(execFile);
const VALIDATE = join(import.meta.dirname, '../../bench/faults/validate');
const PREFIX = 'registry_packages_proxy_';

type Answer = Counted['answers'][number];
const WHOLE: Answer = { verdict: 'whole', status: 200, firstByteAt: 1 };
const MISSING: Answer = { verdict: 'refused', status: 404, firstByteAt: undefined };
const UNREACHABLE: Answer = { verdict: 'unreachable', status: 0, firstByteAt: undefined };

/** The counters of a service, as its metrics show them. */
function metricsOf(lines: readonly string[]): Metrics {
  return new Metrics(lines.map((line) => `${PREFIX}${line}`).join('\n'));
}

const requests = (count: number, code = 200, method = 'GET'): string =>
  `http_requests_total{route="/package",method="${method}",code="${String(code)}"} ${String(count)}`;
const served = (count: number): string => `cache_requests_total{result="hit"} ${String(count)}`;

describe('the accounts of the fault bench', () => {
  const cases: readonly [what: string, lines: readonly string[], answers: readonly Answer[], error?: RegExp][] = [
    ['accept counters that say what clients have seen', [requests(2), served(2)], [WHOLE, WHOLE]],
    ['accept a request that the service may or may not have seen', [requests(1), served(1)], [WHOLE, UNREACHABLE]],
    ['accept a HEAD that is no result', [requests(1, 200, 'HEAD')], [{ ...WHOLE, firstByteAt: undefined }]],
    ['find a request that was not counted', [requests(1), served(1)], [WHOLE, WHOLE], /1 requests counted, 2 made/],
    ['find a request that was counted twice', [requests(2), served(1)], [WHOLE], /2 requests counted, 1 made/],
    ['find a status that was not counted', [requests(1)], [MISSING], /status 404 counted 0 times, seen 1 times/],
    ['find a package without a result', [requests(1)], [WHOLE], /0 hits, misses, joins and bypasses of 1/],
    ['find a result without a package', [requests(1), served(2)], [WHOLE], /2 hits, misses, joins and bypasses of 1/],
  ];
  for (const [what, lines, answers, error] of cases) {
    it(what, async () => {
      const service: Counted = { metrics: () => Promise.resolve(metricsOf(lines)), answers, others: 0 };
      const found = await addUp(service).then(
        () => '',
        (thrown: unknown) => (thrown instanceof Error ? thrown.message : ''),
      );
      if (error === undefined) expect(found).to.equal('');
      else expect(found).to.match(error);
    });
  }
});

describe('the inspection of a service at rest by the fault bench', () => {
  const image = makePackage(5000);
  const name = image.layer.descriptor.digest.slice('sha256:'.length);
  const idle = { descriptors: { sockets: 2, removed: 0, cached: 0, others: 20 }, residentBytes: 2 ** 40 };
  const lines = ['downloads_in_flight 0', 'cache_entries 1', 'cache_size_bytes 8192'];
  let directory: string;
  let blob: string;
  let service: Inspected;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'at-rest-'));
    blob = join(directory, 'v1/blobs/sha256', name);
    await mkdir(join(directory, 'v1/blobs/sha256'), { recursive: true });
    await mkdir(join(directory, 'v1/ingest'));
    await writeFile(blob, image.layer.bytes);
    service = inspected(lines);
  });
  afterEach(() => rm(directory, { recursive: true }));

  function inspected(metrics: readonly string[], change: Partial<Inspected> = {}): Inspected {
    return {
      metrics: () => Promise.resolve(metricsOf(metrics)),
      answers: [],
      others: 0,
      idle,
      pid: process.pid,
      setup: { cacheDirectory: directory },
      running: { output: '' },
      descriptors: () => idle.descriptors,
      ...change,
    };
  }

  const cases: readonly [what: string, violation: RegExp, change: () => Promise<Inspected> | Inspected][] = [
    [
      'a download that still runs',
      /1 downloads still run/,
      () => inspected(['downloads_in_flight 1', ...lines.slice(1)]),
    ],
    [
      'a socket that was left',
      /3 sockets, 2 when idle/,
      () => inspected(lines, { descriptors: () => ({ ...idle.descriptors, sockets: 3 }) }),
    ],
    [
      'a removed file that is still open',
      /1 removed files/,
      () => inspected(lines, { descriptors: () => ({ ...idle.descriptors, removed: 1 }) }),
    ],
    [
      'files that were left open',
      /60 other descriptors/,
      () => inspected(lines, { descriptors: () => ({ ...idle.descriptors, others: 60 }) }),
    ],
    [
      'a temporary file',
      /1 temporary files are left/,
      async () => {
        await writeFile(join(directory, 'v1/ingest/x'), 'x');
        return service;
      },
    ],
    [
      'an index that is not the directory',
      /the index has 2 entries of 8192 bytes, the directory 1 of 8192/,
      () => inspected(['downloads_in_flight 0', 'cache_entries 2', 'cache_size_bytes 8192']),
    ],
    [
      'a cached file with other bytes',
      /digest of a cached file is not its name/,
      async () => {
        await writeFile(blob, new Uint8Array(5000));
        return service;
      },
    ],
    [
      'a secret in a cached file',
      /a secret in a file of the cache/,
      async () => {
        await writeFile(blob, 'canary'.padEnd(5000));
        return service;
      },
    ],
    [
      'a secret in the log',
      /a secret in the log/,
      () => inspected(lines, { running: { output: '{"password":"canary-pass"}' } }),
    ],
    ['a secret in the metrics', /a secret in the metrics/, () => inspected([...lines, 'x{y="canary-pass"} 1'])],
    [
      'memory that was not given back',
      /bytes of memory more than when idle/,
      () => inspected(lines, { idle: { ...idle, residentBytes: -(2 ** 40) } }),
    ],
    ['a request that was not counted', /0 requests counted, 1 made/, () => inspected(lines, { answers: [WHOLE] })],
  ];
  it('accepts a service that has released all its resources', async () => {
    expect(await violationsAtRest(service, 0)).to.deep.equal([]);
  });
  for (const [what, violation, change] of cases) {
    it(`finds ${what}`, async () => {
      expect((await violationsAtRest(await change(), 0)).join('\n')).to.match(violation);
    });
  }
});

describe('the judgement of a trial by the fault bench', () => {
  const got = (verdict: Got['verdict'], status = 200): Got => ({
    verdict,
    status,
    why: 'why',
    headers: {},
    bytes: 0,
    firstByteAt: undefined,
    ms: 0,
    canary: undefined,
  });
  it('accepts allowed answers', () => {
    expect(unexpected(got('whole'), 'whole')).to.equal(undefined);
    for (const failed of [got('cut'), got('refused', 502)]) {
      expect(unexpected(failed, 'failed')).to.equal(undefined);
      expect(unexpected(failed, 'either')).to.equal(undefined);
    }
    expect(unexpected(got('whole'), 'either')).to.equal(undefined);
  });
  it('reports an answer that is not allowed', () => {
    expect(unexpected(got('refused', 502), 'whole')).to.equal('refused, status 502: why');
    expect(unexpected(got('whole'), 'failed')).to.equal('whole, status 200: why');
    for (const verdict of ['wrong', 'late', 'unreachable'] as const) {
      for (const allowed of ['whole', 'failed', 'either'] as const) {
        expect(unexpected(got(verdict), allowed)).to.match(new RegExp(`^${verdict}`));
      }
    }
  });
});

describe('the scripted registry of the fault bench', () => {
  const image = makePackage(5000);
  const violations: string[] = [];
  const basic = `Basic ${Buffer.from(`${USERNAME}:${PASSWORD}`).toString('base64')}`;
  let registry: ScriptedRegistry;
  beforeEach(async () => {
    violations.length = 0;
    registry = await ScriptedRegistry.start({ hasStorage: true }, (violation) => violations.push(violation));
    registry.publish(image);
  });
  afterEach(() => registry.close());

  const url = (kind: string, digest: string): string =>
    `http://127.0.0.1:${String(registry.port)}/v2/deckhouse/ee/${kind}/${digest}`;
  const layer = image.layer.descriptor.digest;

  async function token(): Promise<string> {
    const realm = /realm="([^"]+)"/.exec(registry.challenge)?.[1] ?? '';
    const answer = await fetch(realm, { headers: { authorization: basic } });
    return `Bearer ${((await answer.json()) as { token: string }).token}`;
  }

  it('answers 401 without a token, and counts the challenge', async () => {
    const answer = await fetch(url('manifests', image.digest));
    expect([answer.status, answer.headers.get('www-authenticate')]).to.deep.equal([401, registry.challenge]);
    await answer.body?.cancel();
    expect([registry.challenged, registry.requests('manifest', image.digest)]).to.deep.equal([1, 0]);
  });

  it('serves a manifest and a layer with a token, and counts requests and bytes', async () => {
    const authorization = await token();
    const manifest = await fetch(url('manifests', image.digest), { headers: { authorization } });
    expect(Buffer.from(await manifest.arrayBuffer()).equals(image.manifest.bytes)).to.equal(true);
    const redirect = await fetch(url('blobs', layer), { headers: { authorization }, redirect: 'manual' });
    expect(redirect.status).to.equal(307);
    const blob = await fetch(redirect.headers.get('location') ?? '');
    expect(Buffer.from(await blob.arrayBuffer()).equals(image.layer.bytes)).to.equal(true);
    expect([registry.requests('blob', layer), registry.bytes('storage', layer)]).to.deep.equal([1, 5000]);
    expect(violations).to.deep.equal([]);
  });

  it('refuses tokens that were revoked, and a password that was changed', async () => {
    const authorization = await token();
    registry.revokeTokens();
    const answer = await fetch(url('manifests', image.digest), { headers: { authorization } });
    await answer.body?.cancel();
    expect(answer.status).to.equal(401);
    registry.changePassword('another');
    expect(await token()).to.equal('Bearer undefined');
  });

  it('reports a credential that reaches the object storage', async () => {
    const authorization = await token();
    const redirect = await fetch(url('blobs', layer), { headers: { authorization }, redirect: 'manual' });
    const answer = await fetch(redirect.headers.get('location') ?? '', { headers: { authorization } });
    await answer.body?.cancel();
    expect(answer.status).to.equal(400);
    expect(violations).to.deep.equal(['a credential was sent to the object storage']);
  });

  it('follows a script for the scripted attempts, and answers correctly afterwards', async () => {
    const authorization = await token();
    registry.script(image.digest, ({ attempt }) =>
      attempt === 1 ? resettingAfter(10) : attempt === 2 ? answering({ status: 503 }) : undefined,
    );
    const ask = (): Promise<number | string> =>
      fetch(url('manifests', image.digest), { headers: { authorization } }).then(
        async (answer) => {
          await answer.arrayBuffer();
          return answer.status;
        },
        () => 'reset',
      );
    const first = await ask().catch(() => 'reset');
    expect([first, await ask(), await ask()]).to.deep.equal(['reset', 503, 200]);
    registry.withdraw(image);
    expect(await ask()).to.equal(404);
  });
});

describe('the witnesses of the fault bench', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'witness-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const preloaded = async (witness: string, journal: string, code: string): Promise<string> => {
    const path = join(folder, 'journal');
    const preload = pathToFileURL(join(VALIDATE, witness)).href;
    await run(process.execPath, ['--import', preload, '--input-type=module', '-e', code], {
      env: { ...process.env, NODE_OPTIONS: '', [journal]: path },
    });
    return readFile(path, 'utf8');
  };

  it('record each address to which a process connects, except its own ports', async () => {
    const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    const code = `
      import { createServer, connect } from 'node:net';
      const own = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1', () => {
        connect(own.address().port, '127.0.0.1').on('error', () => undefined).on('close', () => {
          own.close();
          connect(${String(port)}, '127.0.0.1').on('error', () => undefined).resume();
        }).resume();
      });`;
    expect(await preloaded('dial-witness.ts', 'DIAL_JOURNAL', code)).to.equal(`127.0.0.1:${String(port)}\n`);
    server.close();
  });

  it('record exactly the files that a process syncs', async () => {
    const [synced, written] = [join(folder, 'synced'), join(folder, 'written')];
    const code = `
      import { open } from 'node:fs/promises';
      for (const path of ${JSON.stringify([synced, written])}) {
        const file = await open(path, 'w');
        await file.write('x');
        if (path === ${JSON.stringify(synced)}) await file.datasync();
        await file.close();
      }`;
    expect(await preloaded('sync-witness.ts', 'SYNC_JOURNAL', code)).to.equal(`${synced}\n`);
  });
});
