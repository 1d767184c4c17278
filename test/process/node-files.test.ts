import { expect } from 'chai';
import { execFile, spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { parse } from 'yaml';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { findProgram } from '../support/peers/binaries.ts';
import { rejection } from '../support/rejection.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { serverCertificate } from '../support/tls/certificates.ts';

const run = promisify(execFile);
const EXAMPLES = join(import.meta.dirname, '../../examples');
const CA_FILE = join(import.meta.dirname, '../support/tls/ca.pem');
const TOKEN = 'abcdef.0123456789abcdef';
const UNIT = '/etc/systemd/system/registry-package.service';
const curl = spawnSync('sh', ['-c', 'curl --version']).status === 0 ? it : it.skip;

interface UserData {
  readonly write_files: readonly {
    readonly path: string;
    readonly owner: string;
    readonly permissions: string;
    readonly encoding: string;
    readonly content: string;
  }[];
  readonly runcmd: readonly (readonly string[])[];
}

describe('the files of a new node', () => {
  const image = makePackage(200_000);
  let registry: FakeRegistry;
  let service: ServiceProcess;
  /** Stands for the sidecar: TLS, and a token for each request. */
  let master: Server;
  /** The root directory of a node. */
  let root: string;
  before(async () => {
    registry = await FakeRegistry.start();
    registry.publish(image);
    service = await ServiceProcess.start({
      settings: { credentials: { registries: [{ repo: `${registry.host}/ee`, default: true, scheme: 'HTTP' }] } },
    });
    master = createServer(serverCertificate('localhost'), ({ url, headers }, response) => {
      if (headers.authorization !== `Bearer ${TOKEN}`) {
        response.writeHead(403).end('not with this token\n');
        return;
      }
      request({ port: service.port, host: '127.0.0.1', path: url }, (answer) => {
        response.writeHead(answer.statusCode ?? 0, answer.headers);
        answer.pipe(response);
      }).end();
    });
    await new Promise<void>((resolve) => master.listen(0, '127.0.0.1', resolve));
  });
  after(async () => {
    master.closeAllConnections();
    await new Promise((resolve) => master.close(resolve));
    await service.close();
    await registry.close();
  });
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'node-'));
  });
  afterEach(() => rm(root, { recursive: true }));

  const userData = async (arguments_: readonly string[], token = TOKEN): Promise<string> => {
    const address = `localhost:${String((master.address() as AddressInfo).port)}`;
    const { stdout } = await run(join(EXAMPLES, 'cloud-init.sh'), arguments_, {
      env: {
        ...process.env,
        PACKAGES_PROXY_ADDRESSES: address,
        PACKAGES_PROXY_TOKEN: token,
        PACKAGES_PROXY_CA: CA_FILE,
      },
    });
    return stdout;
  };

  /** Writes the files as cloud-init does, below another root. */
  async function boot(text: string): Promise<UserData> {
    const data = parse(text) as UserData;
    for (const { path, owner, permissions, encoding, content } of data.write_files) {
      expect([owner, encoding]).to.deep.equal(['root:root', 'gz+b64']);
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), gunzipSync(Buffer.from(content, 'base64')));
      await chmod(join(root, path), Number.parseInt(permissions, 8));
    }
    return data;
  }

  /** Runs the command of the unit with the environment of the unit, as systemd expands both. */
  async function startUnit(): Promise<unknown> {
    const unit = await readFile(join(root, UNIT), 'utf8');
    const valueOf = (key: string): string => new RegExp(`^${key}=(.*)$`, 'm').exec(unit)?.[1] ?? '';
    const lines = (await readFile(join(root, valueOf('EnvironmentFile')), 'utf8')).trim().split('\n');
    const environment = Object.fromEntries(
      lines.map((line): [string, string] => [line.split('=', 1)[0] ?? '', line.replace(/^[^=]*=/, '')]),
    );
    const [program = '', ...words] = valueOf('ExecStart').split(' ');
    const values = words.map((word) => String(environment[word.replace(/^\$\{(.*)\}$/, '$1')]));
    return run(join(root, program), values, {
      env: {
        PATH: process.env['PATH'],
        PACKAGES_PROXY_ATTEMPTS: '1',
        ...environment,
        PACKAGES_PROXY_CA: join(root, String(environment['PACKAGES_PROXY_CA'])),
      },
    });
  }

  curl('install a verified package at its path, over TLS and with the token', async () => {
    const output = join(root, 'package');
    const text = await userData([image.digest, output]);
    expect(text).to.match(/^#cloud-config\n/);
    expect(Buffer.byteLength(text), 'more than clouds take').to.be.at.most(16 * 1024);
    const { runcmd } = await boot(text);
    expect(runcmd.map((words) => words.join(' '))).to.deep.equal([
      'systemctl daemon-reload',
      'systemctl enable --now --no-block registry-package.service',
    ]);
    expect((await stat(join(root, '/etc/registry-packages-proxy/node.env'))).mode & 0o777).to.equal(0o600);
    await startUnit();
    expect(Buffer.compare(await readFile(output), image.layer.bytes)).to.equal(0);
  });

  curl('fetch nothing from a server of another CA or with a wrong token', async () => {
    const output = join(root, 'package');
    await boot(await userData([image.digest, output], 'another.token'));
    expect(await rejection(startUnit()))
      .to.have.property('stderr')
      .that.includes('403 not with this token');
    await boot(await userData([image.digest, output]));
    const { cert } = serverCertificate('elsewhere');
    await writeFile(join(root, '/etc/registry-packages-proxy/ca.crt'), cert);
    expect(await rejection(startUnit()))
      .to.have.property('stderr')
      .that.includes('curl failed (60)');
    expect(await rejection(stat(output))).to.have.property('code', 'ENOENT');
  });

  it('are not written from values that systemd would read differently', async () => {
    for (const [place, token] of [
      ['/x y', TOKEN],
      ['/x', 'a"b'],
      ['/x$HOME', TOKEN],
      ['/x', 'a\nPACKAGES_PROXY_SCHEME=http'],
    ] as const) {
      expect(await rejection(userData([image.digest, place], token))).to.have.property('code', 2);
    }
  });

  it('are not written from a digest or a path that would fail on each new node', async () => {
    for (const [digest, place, told] of [
      ['jq:1.7', '/opt/jq', 'jq:1.7: a digest is sha256: and 64 lower-case hex digits\n'],
      [image.digest.slice(0, -1), '/opt/jq', 'a digest is sha256: and 64 lower-case hex digits\n'],
      [image.digest, 'jq', 'jq: a path on the node begins with /\n'],
    ] as const) {
      const error = await rejection(userData([digest, place]));
      expect(error).to.have.property('code', 2);
      expect(error).to.have.property('stderr').that.includes(told);
    }
  });

  it('contain a unit that systemd accepts', async function () {
    if (spawnSync('sh', ['-c', 'command -v systemd-analyze']).status !== 0) this.skip();
    const unit = await readFile(join(EXAMPLES, 'registry-package.service'), 'utf8');
    const file = join(root, 'registry-package.service');
    await writeFile(file, unit.replace('/usr/local/lib/registry-packages-proxy', EXAMPLES));
    const { stderr } = await run('systemd-analyze', ['verify', '--man=no', file]);
    expect(stderr).to.equal('');
    await writeFile(file, unit.replace('Type=oneshot', 'Type=sometimes'));
    const { stderr: complaint } = (await run('systemd-analyze', ['verify', '--man=no', file]).catch(
      (error: unknown) => error,
    )) as { stderr: string };
    expect(complaint).to.include('sometimes');
  });

  it('contain user data that cloud-init accepts', async function () {
    this.timeout(60_000);
    const cloudInit = findProgram('cloud-init');
    if (cloudInit === undefined) this.skip();
    const file = join(root, 'user-data');
    await writeFile(file, await userData([image.digest, '/opt/package']));
    const { stdout } = await run(cloudInit, ['schema', '--config-file', file]);
    expect(stdout).to.include('Valid');
  });
});
