import { expect } from 'chai';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from '../support/eventually.ts';
import { FakeRegistry, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { bytesOf, encode, makeBlob, makeImage, makeIndex, makePackage, type TestImage } from '../support/image.ts';
import { findProgram } from '../support/peers/binaries.ts';
import { rejection } from '../support/rejection.ts';
import { ServiceProcess } from '../support/service-process.ts';

const FETCH = join(import.meta.dirname, '../../examples/fetch-package.sh');
const run = promisify(execFile);
const curl = spawnSync('curl', ['--version']).status === 0 ? it : it.skip;

/** A change of one answer of the service on its way through a master. */
type Fault = (answer: { status: number; headers: IncomingHttpHeaders; body: Buffer }, response: ServerResponse) => void;

/** A master: forwards requests to the service, and returns its answers with the faults of a test, in order. */
class Master {
  readonly #server: Server;
  /** Headers of the requests for packages. */
  readonly seen: IncomingHttpHeaders[] = [];
  /** Faults of the answers with packages. */
  readonly faults: Fault[] = [];
  /** Faults of the answers with manifests. */
  readonly manifestFaults: Fault[] = [];

  private constructor(servicePort: number) {
    this.#server = createServer(({ url, headers }, response) => {
      const isManifest = url?.startsWith('/manifest') === true;
      if (!isManifest) this.seen.push(headers);
      request({ port: servicePort, host: '127.0.0.1', path: url, headers }, (answer) => {
        void answer.toArray().then((chunks: Buffer[]) => {
          const fault = (isManifest ? this.manifestFaults : this.faults).shift() ?? whole;
          const { statusCode: status = 0 } = answer;
          fault({ status, headers: answer.headers, body: Buffer.concat(chunks) }, response);
        });
      }).end();
    });
  }

  static async start(servicePort: number): Promise<Master> {
    const master = new Master(servicePort);
    await new Promise<void>((resolve) => master.#server.listen(0, '127.0.0.1', resolve));
    return master;
  }

  get address(): string {
    return `127.0.0.1:${String((this.#server.address() as AddressInfo).port)}`;
  }

  hangUp(): void {
    this.#server.closeAllConnections();
  }

  async close(): Promise<void> {
    this.hangUp();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

const whole: Fault = ({ status, headers, body }, response) => response.writeHead(status, headers).end(body);
const refuse =
  (status: number): Fault =>
  (_answer, response) =>
    response.writeHead(status).end('not now\n');
const breakOffAfter =
  (bytes: number): Fault =>
  ({ status, headers, body }, response) =>
    response.writeHead(status, headers).write(body.subarray(0, bytes), () => response.socket?.end());
const answer =
  (bytes: Uint8Array): Fault =>
  (_answer, response) =>
    response.writeHead(200).end(bytes);

/** A proxy that sends another package with the correct headers of that package. */
function forge({ layer }: TestImage): Fault {
  return ({ status, headers }, response) => {
    const reprDigest = `sha-256=:${Buffer.from(layer.descriptor.digest.slice(7), 'hex').toString('base64')}:`;
    whole({ status, headers: { ...headers, 'repr-digest': reprDigest }, body: Buffer.from(layer.bytes) }, response);
  };
}

function without(headers: IncomingHttpHeaders, name: string): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([other]) => other !== name));
}

describe('examples/fetch-package.sh', () => {
  const image = makePackage(300_000);
  let registry: FakeRegistry;
  let service: ServiceProcess;
  let masters: Master[];
  let directory: string;
  before(async () => {
    registry = await FakeRegistry.start({ auth: 'basic' });
    registry.publish(image);
    const repo = `${registry.host}/deckhouse/ee`;
    service = await ServiceProcess.start({
      settings: {
        credentials: { registries: [{ repo, default: true, scheme: 'HTTP', username: USERNAME, password: PASSWORD }] },
      },
    });
  });
  after(async () => {
    await service.close();
    await registry.close();
  });
  beforeEach(async () => {
    masters = [await Master.start(service.port), await Master.start(service.port)];
    directory = await mkdtemp(join(tmpdir(), 'fetch-'));
  });
  afterEach(async () => {
    for (const master of masters) await master.close();
    await rm(directory, { recursive: true });
  });

  const [HERE, ELSEWHERE] = ['package', '/nowhere/package'];
  const fetchFrom = (
    addresses: readonly string[],
    query: readonly string[] = [image.digest],
    output = HERE,
    platform = '',
    environment: Readonly<Record<string, string>> = {},
  ) =>
    run(FETCH, [query[0] ?? '', output, ...query.slice(1)], {
      cwd: directory,
      env: {
        ...process.env,
        PACKAGES_PROXY_ADDRESSES: addresses.join(),
        PACKAGES_PROXY_ATTEMPTS: '3',
        PACKAGES_PROXY_PAUSE: '0',
        PACKAGES_PROXY_PLATFORM: platform,
        PACKAGES_PROXY_TOKEN: 'of-a-node',
        // The script must not use a proxy for masters.
        http_proxy: 'http://127.0.0.1:1',
        ...environment,
      },
    });
  const fetchPackage = () => fetchFrom([masters[0]?.address ?? '']);
  const seen = () => masters.flatMap((master) => master.seen);
  const meet = (...faults: Fault[]): unknown => masters[0]?.faults.push(...faults);

  async function expectPackage(): Promise<void> {
    expect(Buffer.compare(await readFile(join(directory, HERE)), image.layer.bytes)).to.equal(0);
    expect(await readdir(directory)).to.deep.equal([HERE]);
  }

  curl('fetches a package with its token from the master that answers', async () => {
    const addresses = ['127.0.0.1:1', masters[0]?.address ?? ''];
    await fetchFrom(addresses, [image.digest, `${registry.host}/deckhouse/ee`, '']);
    await expectPackage();
    expect(seen()[0]?.authorization).to.equal('Bearer of-a-node');
  });

  const TOOLS = 'awk cat cut grep head mv od rm sed sleep sort tail tr wc'.split(' ');
  const programOf = (name: string): string => spawnSync('which', [name]).stdout.toString().trim();

  /** Runs the script with a PATH that contains only these programs. */
  async function fetchWith(programs: Readonly<Record<string, string>>, fetch: () => Promise<unknown>): Promise<void> {
    const bin = await mkdtemp(join(tmpdir(), 'bin-'));
    for (const tool of TOOLS) await symlink(programOf(tool), join(bin, tool));
    for (const [name, program] of Object.entries(programs)) await symlink(program, join(bin, name));
    const PATH = process.env['PATH'];
    process.env['PATH'] = bin;
    try {
      await fetch();
    } finally {
      process.env['PATH'] = PATH;
      await rm(bin, { recursive: true });
    }
  }

  curl('requires openssl only if sha256sum is missing', async function () {
    if (programOf('openssl') === '') this.skip();
    await fetchWith({ curl: programOf('curl'), openssl: programOf('openssl') }, fetchPackage);
    await expectPackage();
  });

  describe('without curl', () => {
    const isGnu = spawnSync('sh', ['-c', 'wget --version']).stdout.toString().startsWith('GNU Wget');
    const smallWget = findProgram('busybox') ?? '';
    const [gnu, busybox] = [isGnu ? it : it.skip, smallWget === '' ? it.skip : it];
    const byWget = (fetch: () => Promise<unknown> = fetchPackage): Promise<void> =>
      fetchWith({ wget: programOf('wget'), sha256sum: programOf('sha256sum') }, fetch);
    const byBusybox = (fetch: () => Promise<unknown>): Promise<void> =>
      fetchWith({ wget: smallWget, sha256sum: programOf('sha256sum') }, fetch);

    gnu('fetches by wget with its token, and the list of processes does not show the token', async () => {
      await byWget(() => fetchFrom([masters[0]?.address ?? ''], [image.digest, `${registry.host}/deckhouse/ee`, '']));
      await expectPackage();
      expect(seen()[0]?.authorization).to.equal('Bearer of-a-node');
    });

    gnu('resumes by wget after a connection has broken', async () => {
      meet(breakOffAfter(100_000));
      await byWget();
      await expectPackage();
      expect(seen().map(({ range }) => range)).to.deep.equal([undefined, 'bytes=100000-']);
    });

    gnu('retries by wget after 503, and stops at 403, each with one line', async () => {
      meet(refuse(503), refuse(403));
      const address = masters[0]?.address ?? '';
      // This is the locale of cloud-init and systemd, in which wget can repeat a request with another encoding of the URL.
      const fetch = () => fetchFrom([address], [image.digest], HERE, '', { LC_ALL: 'C' });
      const error = (await rejection(byWget(fetch))) as { stderr?: string };
      expect(error.stderr).to.equal(`${address}: 503 not now\n${address}: 403 not now\n`);
      expect(seen()).to.have.lengthOf(2);
      expect(await readdir(directory)).to.deep.equal([]);
    });

    gnu('refuses a forged package by wget', async () => {
      meet(...Array<Fault>(3).fill(forge(makePackage(300_000, 7))));
      expect(await rejection(byWget()))
        .to.have.property('stderr')
        .that.includes('package is damaged or forged');
      expect(await readdir(directory)).to.deep.equal([]);
    });

    busybox('fetches by the wget of busybox, and starts again after a connection has broken', async () => {
      meet(breakOffAfter(100_000), refuse(503));
      await byBusybox(() =>
        fetchFrom([masters[0]?.address ?? ''], [image.digest], HERE, '', { PACKAGES_PROXY_TOKEN: '' }),
      );
      await expectPackage();
      expect(seen().map(({ range }) => range)).to.deep.equal([undefined, undefined, undefined]);
    });

    busybox('does not pass a token to the wget of busybox', async () => {
      const error = await rejection(byBusybox(fetchPackage));
      expect(error).to.have.property('stderr').that.includes('install curl or GNU wget');
      expect(seen()).to.deep.equal([]);
    });

    it('names the missing programs', async () => {
      const error = await rejection(fetchWith({}, fetchPackage));
      expect(error).to.have.property('stderr', 'neither curl nor wget is installed\n');
    });
  });

  curl('resumes a package at the byte where the last run ended, if the package is the same', async () => {
    meet(...[1, 2, 3].map(() => breakOffAfter(50_000)));
    await rejection(fetchPackage());
    const part = `${HERE}.${image.digest.slice(7, 19)}.part`;
    expect(await readdir(directory)).to.deep.equal([part]);
    expect((await readFile(join(directory, part))).equals(image.layer.bytes.subarray(0, 150_000))).to.equal(true);
    const other = makePackage(2000, 9);
    registry.publish(other);
    meet(refuse(403));
    await rejection(fetchFrom([masters[0]?.address ?? ''], [other.digest]));
    expect(await readdir(directory)).to.deep.equal([part]);
    await fetchPackage();
    await expectPackage();
    expect(seen().at(-1)).to.have.property('range', 'bytes=150000-');
  });

  curl('keeps the received bytes when a signal ends it', async () => {
    const arrived = Promise.withResolvers<undefined>();
    meet(({ status, headers, body }, response) => {
      response.writeHead(status, headers).write(body.subarray(0, 120_000), () => {
        arrived.resolve(undefined);
      });
    });
    const running = fetchPackage();
    running.catch(() => undefined);
    await arrived.promise;
    const file = join(directory, `${HERE}.${image.digest.slice(7, 19)}.part.body`);
    await eventually(async () => expect((await readFile(file)).byteLength).to.be.greaterThan(100_000));
    running.child.kill('SIGTERM');
    for (const master of masters) master.hangUp();
    await rejection(running);
    await fetchPackage();
    await expectPackage();
    expect(seen().at(-1)?.range).to.match(/^bytes=1\d{5}-$/);
  });

  curl('accepts a complete file, and fetches the package again if the bytes of the file are different', async () => {
    const part = join(directory, `${HERE}.${image.digest.slice(7, 19)}.part`);
    await writeFile(part, image.layer.bytes);
    await fetchPackage();
    await expectPackage();
    await writeFile(part, 'x'.repeat(1000));
    await fetchPackage();
    await expectPackage();
  });

  curl('accepts addresses separated by spaces or newlines', async () => {
    await fetchFrom([`127.0.0.1:1 127.0.0.1:1\n${masters[0]?.address ?? ''}\n`]);
    await expectPackage();
  });

  curl('reports the address and the cause of each failure in one line', async () => {
    meet(breakOffAfter(1000));
    const { stderr } = await fetchFrom(['127.0.0.1:1', masters[0]?.address ?? ''].slice(1));
    expect(stderr.trim().split('\n')).to.have.lengthOf(1);
    expect(stderr).to.match(/^127\.0\.0\.1:\d+: curl failed \(18\) curl: \(18\) /);
    const error = (await rejection(fetchFrom(['127.0.0.1:1']))) as { stderr?: string };
    expect(error.stderr?.trim().split('\n')).to.have.lengthOf(4);
    expect(error.stderr).to.match(/^127\.0\.0\.1:1: curl failed \(7\) /);
  });

  curl('shows a bar on a terminal', async function () {
    if (programOf('script') === '') this.skip();
    const { stdout } = await run('script', ['-qec', `${FETCH} ${image.digest} ${HERE}`, '/dev/null'], {
      cwd: directory,
      env: { ...process.env, PACKAGES_PROXY_ADDRESSES: masters[0]?.address },
    });
    expect(stdout).to.include('100.0%');
    await expectPackage();
  });

  curl('asks the masters in random order', async function () {
    this.timeout(30_000);
    const addresses = masters.map(({ address }) => address);
    // By chance both orders are the same 24 times once in eight million runs of this test.
    for (let times = 0; times < 24; times++) await fetchFrom(addresses);
    expect(seen()).to.have.lengthOf(24);
    for (const master of masters) expect(master.seen).not.to.have.lengthOf(0);
  });

  for (const status of [401, 408, 429, 500, 502, 503, 504]) {
    curl(`retries after ${String(status)}`, async () => {
      meet(refuse(status));
      await fetchPackage();
      await expectPackage();
      expect(seen()).to.have.lengthOf(2);
    });
  }

  for (const fault of [refuse(503), breakOffAfter(100), answer(makePackage(7).manifest.bytes), answer(encode({}))]) {
    curl('requests a damaged or missing manifest again', async () => {
      masters[0]?.manifestFaults.push(fault);
      await fetchPackage();
      await expectPackage();
    });
  }

  curl('leaves no file if proxies forge the manifest together with its package', async () => {
    const forged = makePackage(300_000, 7);
    masters[0]?.manifestFaults.push(...Array<Fault>(3).fill(answer(forged.manifest.bytes)));
    meet(...Array<Fault>(3).fill(forge(forged)));
    expect(await rejection(fetchPackage()))
      .to.have.property('stderr')
      .that.includes('manifest is damaged or forged');
    expect(seen()).to.deep.equal([]);
    expect(await readdir(directory)).to.deep.equal([]);
  });

  describe('of an index', () => {
    const platforms = ['amd64', 'arm64'].map((architecture) => ({ os: 'linux', architecture }));
    const [amd64, arm64] = [makePackage(1000, 2), makePackage(1000, 3)];
    const [here, elsewhere] = platforms;
    if (here === undefined || elsewhere === undefined) throw new Error('two platforms');
    const index = makeIndex([
      { image: arm64, platform: elsewhere },
      { image: amd64, platform: here },
    ]);
    before(() => {
      registry.publish(index);
    });

    curl('keeps the package of its platform', async () => {
      await fetchFrom([masters[0]?.address ?? ''], [index.digest]);
      expect(Buffer.compare(await readFile(join(directory, HERE)), amd64.layer.bytes)).to.equal(0);
    });

    curl('refuses the package of another platform', async () => {
      meet(...Array<Fault>(3).fill(forge(arm64)));
      const error = await rejection(fetchFrom([masters[0]?.address ?? ''], [index.digest]));
      expect(error).to.have.property('stderr').that.includes('package is damaged or forged');
      expect(await readdir(directory)).to.deep.equal([]);
    });

    curl('reports that a platform has no image', async () => {
      const error = await rejection(fetchFrom([masters[0]?.address ?? ''], [index.digest], HERE, 'windows/amd64'));
      expect(error).to.have.property('stderr').that.includes('no image for windows/amd64');
    });
  });

  const odd = makeImage([bytesOf(10), bytesOf(2000, 5)]);
  const parsed = JSON.parse(Buffer.from(odd.manifest.bytes).toString()) as { layers: object[] };
  const text = JSON.stringify(
    {
      annotations: { 'a "quoted" \\ \\\\': '}],"layers":[{"digest":"sha256:0"}]', 'layers\t9\tdigest': 'sha256:0' },
      ...parsed,
      layers: parsed.layers.map((layer) => ({ annotations: { digest: 'sha256:0' }, urls: ['sha256:0'], ...layer })),
    },
    undefined,
    2,
  );
  for (const [how, manifest] of [
    ['over many lines, with quotes, backslashes and other digests in it', `${text}\n`],
    ['with a space before each colon', text.replaceAll('":', '" :')],
    ['in one line, with fields behind its layers', JSON.stringify({ ...parsed, subject: { digest: 'sha256:0' } })],
  ] as const) {
    curl(`understands a manifest ${how}`, async () => {
      const blob = makeBlob(odd.manifest.descriptor.mediaType, Buffer.from(manifest));
      registry.publish({ ...odd, digest: blob.descriptor.digest, manifest: blob });
      await fetchFrom([masters[0]?.address ?? ''], [blob.descriptor.digest]);
      expect(Buffer.compare(await readFile(join(directory, HERE)), odd.layer.bytes)).to.equal(0);
    });
  }

  for (const status of [301, 400, 403, 404]) {
    curl(`stops at ${String(status)} without a retry, reports the cause and leaves no file`, async () => {
      for (const where of [masters[0]?.faults, masters[0]?.manifestFaults]) {
        where?.push(refuse(status));
        const error = await rejection(fetchPackage());
        expect(error)
          .to.have.property('stderr')
          .that.includes(`${String(status)} not now`);
        expect(seen()).to.have.lengthOf(1);
        expect(await readdir(directory)).to.deep.equal([]);
      }
    });
  }

  /** Runs the script with a `sleep` that records its argument and does not sleep. */
  async function recordedPauses(work: (path: string) => Promise<unknown>): Promise<string[]> {
    const bin = await mkdtemp(join(tmpdir(), 'bin-'));
    await writeFile(join(bin, 'sleep'), `#!/bin/sh\necho "$1" >>"${bin}/slept"\n`, { mode: 0o755 });
    await work(`${bin}:${process.env['PATH'] ?? ''}`);
    const slept = await readFile(join(bin, 'slept'), 'utf8');
    await rm(bin, { recursive: true });
    return slept.trim().split('\n');
  }
  const busy =
    (retryAfter: string): Fault =>
    (_answer, response) =>
      response.writeHead(503, { 'Retry-After': retryAfter }).end('busy\n');

  curl('waits for the Retry-After of a busy master, at least its own pause and at most a minute', async () => {
    for (const [retryAfter, pause, slept] of [
      ['7', '5', '7'],
      ['2', '5', '5'],
      ['900', '5', '60'],
      ['soon', '5', '5'],
    ] as const) {
      meet(busy(retryAfter));
      const pauses = await recordedPauses((PATH) =>
        fetchFrom([masters[0]?.address ?? ''], [image.digest], HERE, '', { PATH, PACKAGES_PROXY_PAUSE: pause }),
      );
      expect(pauses, retryAfter).to.deep.equal([slept]);
    }
    await expectPackage();
  });

  curl('waits for the master with the shortest Retry-After', async () => {
    masters[0]?.faults.push(busy('30'));
    masters[1]?.faults.push(busy('6'));
    const addresses = masters.map(({ address }) => address);
    const pauses = await recordedPauses((PATH) => fetchFrom(addresses, [image.digest], HERE, '', { PATH }));
    expect(pauses).to.deep.equal(['6']);
  });

  describe('at a master that redirects', () => {
    let storage: Server;
    let url: string;
    let asked: IncomingHttpHeaders[];
    let serve: (response: ServerResponse) => unknown;
    beforeEach(async () => {
      asked = [];
      serve = (response) => response.end(image.layer.bytes);
      storage = createServer(({ headers }, response) => {
        asked.push(headers);
        serve(response);
      });
      await new Promise<void>((resolve) => storage.listen(0, '127.0.0.1', resolve));
      url = `http://127.0.0.1:${String((storage.address() as AddressInfo).port)}/blob?X-Amz-Signature=1`;
    });
    afterEach(() => new Promise((resolve) => storage.close(resolve)));

    const redirect: Fault = (_answer, response) => response.writeHead(307, { location: url }).end('elsewhere\n');
    const follow = () =>
      fetchFrom([masters[0]?.address ?? ''], [image.digest], HERE, '', {
        PACKAGES_PROXY_REDIRECT: 'follow',
        http_proxy: '',
      });

    curl('follows no redirect if redirects are not enabled', async () => {
      meet(redirect);
      const { stderr } = (await rejection(fetchPackage())) as Error & { stderr?: string };
      expect(stderr).to.include('307 elsewhere (a redirect that this script did not ask for is not followed)');
      expect(asked).to.deep.equal([]);
      expect(seen()[0]).not.to.have.property('prefer');
    });

    curl('follows a redirect if redirects are enabled, without its token', async () => {
      meet(redirect);
      await follow();
      await expectPackage();
      expect(seen()[0]).to.include({ prefer: 'redirect', authorization: 'Bearer of-a-node' });
      expect(asked).to.have.lengthOf(1);
      expect(asked[0]).not.to.have.property('authorization');
    });

    curl(
      'does not keep other bytes than the package, and fetches it from the master if the storage refuses',
      async () => {
        serve = (response) => response.end(makePackage(300_000, 7).layer.bytes);
        meet(redirect, redirect, redirect);
        const { stderr } = (await rejection(follow())) as Error & { stderr?: string };
        expect(stderr).to.include('package is damaged or forged');
        expect(await readdir(directory)).to.deep.equal([]);
        serve = (response) => response.writeHead(403).end();
        meet(redirect);
        await follow();
        await expectPackage();
      },
    );

    curl('follows neither a second redirect nor one to another scheme', async () => {
      serve = (response) => response.writeHead(307, { location: url }).end();
      meet(redirect);
      await follow();
      expect(asked).to.have.lengthOf(1);
      url = 'file:///etc/passwd';
      meet(redirect);
      await follow();
      await expectPackage();
    });
  });

  curl('resumes after a connection has broken, also at another master', async () => {
    for (const { faults } of masters) faults.push(breakOffAfter(100_000));
    await fetchFrom(masters.map(({ address }) => address));
    await expectPackage();
    const ranges = seen().map(({ range }) => range ?? 'all');
    expect(ranges.sort()).to.deep.equal(['all', 'bytes=100000-', 'bytes=200000-']);
    for (const master of masters) expect(master.seen).not.to.have.lengthOf(0);
    expect(seen().find(({ range }) => range !== undefined)).to.have.property('if-range', `"${image.digest}"`);
  });

  curl('starts again if the server ignores the range', async () => {
    meet(breakOffAfter(100_000), ({ headers }, response) => {
      response
        .writeHead(200, { ...without(headers, 'content-range'), 'content-length': 300_000 })
        .end(image.layer.bytes);
    });
    await fetchPackage();
    await expectPackage();
  });

  const damages: [what: string, fault: Fault][] = [
    [
      'whose bytes are others',
      ({ body, ...answer }, response) => {
        whole({ ...answer, body: Buffer.from(body.map((byte, at) => (at === 7 ? byte ^ 1 : byte))) }, response);
      },
    ],
    [
      'that is shorter than the whole',
      ({ headers, ...answer }, response) => {
        const body = Buffer.from(image.layer.bytes.subarray(1));
        whole({ ...answer, headers: without(headers, 'content-length'), body }, response);
      },
    ],
    ['that is another one, whole and with headers that fit', forge(makePackage(300_000, 7))],
    ['that is empty', answer(new Uint8Array())],
  ];
  for (const [what, fault] of damages) {
    curl(`does not keep a package ${what}`, async () => {
      meet(fault, fault, fault);
      const error = await rejection(fetchPackage());
      expect(error).to.have.property('stderr').that.includes('package is damaged or forged');
      expect(await readdir(directory)).to.deep.equal([]);
    });
  }

  curl('fetches a damaged package again from its first byte', async () => {
    meet(damages[0]?.[1] ?? whole);
    await fetchPackage();
    await expectPackage();
    expect(seen()[1]).not.to.have.property('range');
  });

  curl('reports a disk error as such, not as an error of a proxy', async () => {
    const error = await rejection(fetchFrom([masters[0]?.address ?? ''], [image.digest], ELSEWHERE));
    expect(error).to.have.property('code').that.is.greaterThan(0);
    expect(seen()).to.deep.equal([]);
  });

  it('prints its usage', async () => {
    const { stdout, stderr: none } = await run(FETCH, ['--help']);
    expect(none).to.equal('');
    expect(stdout)
      .to.include('fetch-package.sh DIGEST OUTPUT [REPOSITORY [PATH]]')
      .and.to.include('PACKAGES_PROXY_PAUSE');
    expect(stdout).not.to.include('set -eu');
    for (const wrong of [[], ['latest', 'here'], [image.digest, 'here', 'a', 'b', 'c']]) {
      const { code, stderr } = (await rejection(run(FETCH, wrong))) as Error & { code?: number; stderr?: string };
      expect(code).to.equal(2);
      expect(stderr).to.match(/DIGEST OUTPUT|a digest begins with sha256:/);
    }
  });
});
