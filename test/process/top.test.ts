import { expect } from 'chai';
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Sample } from '../../src/adapters/cli/top-sample.ts';
import { runCommandLine } from '../../src/adapters/cli/command-line.ts';
import { COMMANDS } from '../../src/infrastructure/commands/table.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { FakeTerminal } from '../support/fake-terminal.ts';
import { makePackage } from '../support/image.ts';
import { Program } from '../support/program.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { serverCertificate } from '../support/tls/certificates.ts';

const onTerminal = spawnSync('script', ['--version']).status === 0 ? it : it.skip;
const CA_FILE = join(import.meta.dirname, '../support/tls/ca.pem');
const TOKEN = 'abcdef.0123456789abcdef';

describe('top of a running service', function () {
  this.timeout(60_000);
  const image = makePackage(500_000);
  let registry: FakeRegistry;
  let service: ServiceProcess;
  beforeEach(async () => {
    registry = await FakeRegistry.start();
    registry.publish(image);
    service = await ServiceProcess.start({ settings });
  });
  afterEach(async () => {
    await service.close();
    await registry.close();
  });

  const settings: object = {
    credentials: {
      get registries() {
        return [{ repo: `${registry.host}/deckhouse/ee`, default: true, scheme: 'HTTP' }];
      },
    },
  };
  const url = () => `http://127.0.0.1:${String(service.port)}`;
  const top = (...flags: string[]) => ['top', '--url', url(), '--interval', '0.1', ...flags];
  const fetch = () => service.client(`package?digest=${image.digest}`);

  it('shows a download with its bytes and waiting clients, and later the hits', async () => {
    const rest = Promise.withResolvers<undefined>();
    registry.script(({ url: path }, response) => {
      if (!path.includes('/blobs/')) return false;
      response.writeHead(200, { 'content-length': 500_000 });
      response.write(image.layer.bytes.subarray(0, 300_000));
      void rest.promise.then(() => response.end(image.layer.bytes.subarray(300_000)));
      return true;
    });
    const watched = new Program(top('--json'));
    const [one, two] = [fetch(), fetch()];
    await watched.printed(/"bytes":300000,"size":500000,"clients":2/);
    rest.resolve(undefined);
    expect([(await one).statusCode, (await two).statusCode]).to.deep.equal([200, 200]);
    await fetch();
    await watched.printed(/"outcomes":\{"hit":1,"miss":1,"joined":1,"bypass":0\}/);
    await watched.printed(/"interval":\{[^}]*"hits":1,/);
    watched.signal('SIGINT');
    const { code, stdout, stderr } = await watched.end();
    expect([code, stderr]).to.deep.equal([130, '']);
    const samples = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Sample);
    const counts = samples.map((sample) => (sample.state === 'away' ? 0 : (sample.interval?.hits ?? 0)));
    expect(counts.reduce((all, hits) => all + hits)).to.equal(1);
  });

  it('prints a line when the service ends and when another one starts', async () => {
    const { port } = service;
    const watched = new Program(top());
    await watched.printed(/requests 0\.0\/s/);
    await service.end();
    await watched.printed(/no answer: .* ECONNREFUSED: no service listens there\n/);
    service = await service.restart({ settings, flags: ['--listen-address', `127.0.0.1:${String(port)}`] });
    await watched.printed(/ restarted .* since the start/);
    await watched.printed(/ restarted .*\n.*requests 0\.0\/s/);
    watched.signal('SIGTERM');
    expect((await watched.end()).code).to.equal(130);
  });

  it('exits if nothing answers its first request, and if the flags are wrong', async () => {
    const run = async (...args: string[]): Promise<[number, string]> => {
      const terminal = new FakeTerminal();
      return [await runCommandLine(args, terminal, COMMANDS), terminal.stderr.text];
    };
    const other = `http://${registry.host}`;
    expect(await run('top', '--url', other)).to.deep.equal([1, `${other} answered with status 404\n`]);
    for (const [flag, value] of [
      ['--interval', '0'],
      ['--interval', '1s'],
      ['--count', '0'],
      ['--count', '1.5'],
    ] as const) {
      const [code, sentence] = await run('top', '--url', url(), flag, value);
      expect([code, sentence.startsWith(`${flag} must be a`)], flag).to.deep.equal([1, true]);
    }
  });

  it('sends requests through a sidecar, with its CA and a token', async () => {
    const sidecar = createServer(serverCertificate('localhost'), ({ url: path, headers }, response) => {
      if (headers.authorization !== `Bearer ${TOKEN}`) {
        response.writeHead(403).end();
        return;
      }
      request({ port: service.port, host: '127.0.0.1', path, headers: { accept: headers.accept } }, (answer) => {
        response.writeHead(answer.statusCode ?? 0, answer.headers);
        answer.pipe(response);
      }).end();
    });
    const directory = await mkdtemp(join(tmpdir(), 'top-'));
    try {
      await new Promise<void>((resolve) => sidecar.listen(0, 'localhost', resolve));
      const origin = `https://localhost:${String((sidecar.address() as AddressInfo).port)}`;
      const token = join(directory, 'token');
      const ask = async (text: string): Promise<FakeTerminal> => {
        await writeFile(token, text);
        const terminal = new FakeTerminal();
        const flags = ['--url', origin, '--token-file', token, '--ca', CA_FILE, '--count', '1'];
        await runCommandLine(['top', ...flags], terminal, COMMANDS);
        return terminal;
      };
      expect((await ask(TOKEN)).stdout.text).to.match(/^\d\d:\d\d:\d\d {2}requests 0 since the start/);
      expect((await ask('canary')).stderr.text).to.equal(
        `${origin} answered with status 403: the user of the token may not get /status, which a ClusterRole of the chart allows (docs/security.md)\n`,
      );
    } finally {
      sidecar.closeAllConnections();
      await new Promise((resolve) => sidecar.close(resolve));
      await rm(directory, { recursive: true });
    }
  });

  describe('on a terminal', () => {
    /** Prints the settings of the terminal before and after the command. */
    const session = (size: string, environment = ''): Program =>
      new Program(top(), (command) => {
        const shown = `${environment} TERM=xterm ${command.join(' ')}; echo "code=$?"`;
        return ['script', '-qec', `stty ${size} -onlcr; stty -g; ${shown}; stty -g`, '/dev/null'];
      });

    for (const [key, keys, code] of [
      ['q', 'q', 0],
      ['Ctrl-C', '\x03', 130],
    ] as const) {
      onTerminal(`shows the table until ${key}, and restores the terminal`, async () => {
        const shell = session('cols 90 rows 20');
        await shell.printed(/\x1b\[H[^]*\x1b\[H/);
        shell.type(keys);
        const { stdout } = await shell.end();
        const [before, picture = '', after] = stdout.split(/\x1b\[\?1049[hl]/);
        expect(after?.trim().split(/\s+/)).to.deep.equal([`code=${String(code)}`, before?.trim()]);
        expect(picture)
          .to.match(/^\x1b\[\?25l\x1b\[H/)
          .and.to.match(/\x1b\[\?25h$/);
        expect(picture).to.include('\x1b[32mready');
      });
    }

    onTerminal('fits a narrow terminal, and respects NO_COLOR', async () => {
      const shell = session('cols 30 rows 6', 'NO_COLOR=1');
      await shell.printed(/\x1b\[H[^]*\x1b\[H/);
      shell.type('q');
      const [, picture = ''] = (await shell.end()).stdout.split(/\x1b\[\?1049[hl]/);
      const lines = (picture.split('\x1b[H')[1] ?? '').replace('\x1b[J', '').split(/\r+\n/);
      expect(lines).to.have.lengthOf(6);
      for (const line of lines) expect(line.replace('\x1b[K', '')).to.match(/^[^\x1b]{0,29}$/);
    });

    onTerminal('continues while the service is away', async () => {
      const shell = session('cols 90 rows 20');
      await shell.printed(/ready/);
      await service.end();
      await shell.printed(/no answer {2}http/);
      shell.type('q');
      expect((await shell.end()).stdout).to.include('code=0');
    });
  });
});
