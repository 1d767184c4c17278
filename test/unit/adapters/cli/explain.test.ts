import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createSecureServer, type Server as SecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommandLine } from '../../../../src/adapters/cli/command-line.ts';
import { COMMANDS } from '../../../../src/infrastructure/commands/table.ts';
import { CertificateAuthority } from '../../../../src/adapters/cli/certificate.ts';
import { FakeTerminal } from '../../../support/fake-terminal.ts';
import { makePackage } from '../../../support/image.ts';

const { digest } = makePackage(10);

const SERVED = 'verdict     would be served (hit): the package is cached\ndigest      sha256:…\n';
const FAILING = 'verdict     would fail with 404 NAME_UNKNOWN: repository is not known to this proxy\n';

describe('explain', () => {
  let terminal: FakeTerminal;
  let server: Server | undefined;
  let urls: string[];
  let accepted: unknown[];
  beforeEach(() => {
    terminal = new FakeTerminal();
    urls = [];
    accepted = [];
  });
  afterEach(() => {
    server?.closeAllConnections();
    server?.close();
    server = undefined;
  });

  /** Runs the command against a service that answers so. */
  async function run(answer: RequestListener, ...args: readonly string[]): Promise<number> {
    server = createServer((request, response) => {
      urls.push(request.url ?? '');
      accepted.push(request.headers.accept);
      answer(request, response);
    });
    const { promise, resolve } = Promise.withResolvers<undefined>();
    server.listen(0, '127.0.0.1', () => {
      resolve(undefined);
    });
    await promise;
    const url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
    return runCommandLine(['explain', '--digest', digest, '--url', url, ...args], terminal, COMMANDS);
  }
  const explaining =
    (text: string): RequestListener =>
    (_request, response) => {
      response.end(text);
    };

  it('sends the request of its flags, and exits with 0 if the package would be served', async () => {
    expect(await run(explaining(SERVED), '--repository', 'registry.example/ee/', '--path', 'a/b')).to.equal(0);
    expect(urls).to.deep.equal([
      `/explain?${new URLSearchParams({ digest, repository: 'registry.example/ee', path: 'a/b' }).toString()}`,
    ]);
    expect(accepted).to.deep.equal(['text/plain']);
    expect(terminal.stdout.text).to.equal(SERVED);
    expect(terminal.stderr.text).to.equal('');
  });

  it('exits with 2 if the request would fail', async () => {
    expect(await run(explaining(FAILING))).to.equal(2);
    expect(terminal.stdout.text).to.equal(FAILING);
  });

  it('prints the answer of the service unchanged with --json, including unknown fields', async () => {
    const document = JSON.stringify({ verdict: { outcome: 'fail' }, news: 1 });
    expect(await run(explaining(document), '--json')).to.equal(2);
    expect(accepted).to.deep.equal(['application/json']);
    expect(terminal.stdout.text).to.equal(document);
  });

  it('prints no control characters of an answer', async () => {
    expect(await run(explaining(`${SERVED}\u001b[2J\r\u202e\n`))).to.equal(0);
    expect(terminal.stdout.text).to.equal(`${SERVED}?[2J??\n`);
  });

  for (const answer of ['{}', '[]', 'null', '{"verdict":{}}', SERVED])
    it(`complains with --json of the answer ${JSON.stringify(answer.slice(0, 20))}`, async () => {
      expect(await run(explaining(answer), '--json')).to.equal(1);
      expect(terminal.stderr.text).to.match(/did not answer with an explanation\n$/);
    });

  for (const [what, args, complaint] of [
    ['without a digest', [], '--digest is missing'],
    ['with half a digest', ['--digest', 'sha256:4f'], '--digest must be "sha256:" and 64 lower-case hex digits'],
    ['with a path upwards', ['--digest', digest, '--path', '../x'], '--path must be lower-case name components'],
    ['with a URL that is none', ['--digest', digest, '--url', 'localhost:5080'], '--url must be http://HOST:PORT'],
    ['with a URL with a path', ['--digest', digest, '--url', 'http://a/explain'], '--url must be http://HOST:PORT'],
  ] as const) {
    it(`asks no service ${what}`, async () => {
      expect(await runCommandLine(['explain', ...args], terminal, COMMANDS)).to.equal(1);
      expect(terminal.stderr.text).to.include(complaint).and.to.include('See explain --help.');
    });
  }

  it('refuses a URL with a password, and does not print the password', async () => {
    expect(
      await runCommandLine(['explain', '--digest', digest, '--url', 'http://u:canary@[::1]:1'], terminal, COMMANDS),
    ).to.equal(1);
    expect(terminal.stderr.text).to.equal('--url must be http://HOST:PORT or https://HOST:PORT\nSee explain --help.\n');
  });

  const silly: [what: string, answer: RequestListener, complaint: RegExp][] = [
    ['refuses', (_request, response) => response.writeHead(404).end(), /answered with status 404\n$/],
    ['says something else', (_request, response) => response.end('<html>'), /did not answer with an explanation\n$/],
    [
      'says a document instead of a text',
      explaining('{"verdict":{"outcome":"hit"}}'),
      /did not answer with an explanation\n$/,
    ],
    [
      'sends it elsewhere',
      (_request, response) => response.writeHead(302, { location: '/x' }).end(),
      /answered with status 30\d\n$/,
    ],
    ['hangs up', (request) => request.socket.destroy(), /does not answer: (UND_ERR_SOCKET|ECONNRESET)\n$/],
  ];
  for (const [what, answer, complaint] of silly) {
    it(`complains in one sentence of a service that ${what}`, async () => {
      expect(await run(answer)).to.equal(1);
      expect(terminal.stderr.text).to.match(complaint);
      expect(terminal.stdout.text).to.equal('');
    });
  }

  it('authenticates at a hardened service by its keys, and accepts no other service', async () => {
    const home = await mkdtemp(join(tmpdir(), 'keys-'));
    const ca = new CertificateAuthority('loopback');
    const { certificate: cert, key } = ca.issue('service', { usage: 'server', address: '127.0.0.1' });
    const client = ca.issue('explain', { usage: 'client' });
    const files = { 'ca.crt': ca.certificate, 'client.crt': client.certificate, 'client.key': client.key };
    for (const [name, text] of Object.entries(files)) await writeFile(join(home, name), text);
    // The service also reads a whole request before it refuses a client without a certificate.
    // eslint-disable-next-line no-restricted-syntax -- the rule is for clients
    const mutual = { requestCert: true, rejectUnauthorized: false };
    const secure = createSecureServer({ cert, key, ca: ca.certificate, ...mutual }, (_request, response) =>
      response.end(SERVED),
    );
    await new Promise<void>((resolve) => secure.listen(0, '127.0.0.1', resolve));
    const url = `https://127.0.0.1:${String((secure.address() as AddressInfo).port)}`;
    const explain = (...args: readonly string[]) =>
      runCommandLine(['explain', '--digest', digest, '--url', url, ...args], terminal, COMMANDS);
    try {
      expect(await explain('--keys', home)).to.equal(0);
      expect(await explain()).to.equal(1);
      await writeFile(join(home, 'ca.crt'), new CertificateAuthority('loopback').certificate);
      expect(await explain('--keys', home)).to.equal(1);
      expect(await explain('--keys', join(home, 'none'))).to.equal(1);
      expect(await explain('--keys', home, '--url', 'http://127.0.0.1:1')).to.equal(1);
    } finally {
      secure.closeAllConnections();
      await new Promise((resolve) => secure.close(resolve));
      await rm(home, { recursive: true });
    }
    const distrusted = `${url} does not answer: SELF_SIGNED_CERT_IN_CHAIN: its certificate is not signed by`;
    expect(terminal.stderr.text.split('\n')).to.deep.equal([
      `${distrusted} a trusted CA, see --ca`,
      `${distrusted} the given CA`,
      `--keys ${join(home, 'none', 'ca.crt')}: cannot be read (ENOENT)`,
      '--keys needs https',
      'See explain --help.',
      '',
    ]);
  });

  describe('through a sidecar', () => {
    let home: string;
    let secure: SecureServer;
    let url: string;
    let answers: RequestListener;
    let tokens: unknown[];
    beforeEach(async () => {
      home = await mkdtemp(join(tmpdir(), 'sidecar-'));
      tokens = [];
      const ca = new CertificateAuthority('sidecar');
      const { certificate: cert, key } = ca.issue('master', { usage: 'server', address: '127.0.0.1' });
      await writeFile(join(home, 'ca.crt'), ca.certificate);
      await writeFile(join(home, 'token'), 'canary.token\n');
      secure = createSecureServer({ cert, key }, (request, response) => {
        tokens.push(request.headers.authorization);
        answers(request, response);
      });
      await new Promise<void>((resolve) => secure.listen(0, '127.0.0.1', resolve));
      url = `https://127.0.0.1:${String((secure.address() as AddressInfo).port)}`;
    });
    afterEach(async () => {
      secure.closeAllConnections();
      await new Promise((resolve) => secure.close(resolve));
      await rm(home, { recursive: true });
    });

    const ask = (...args: readonly string[]): Promise<number> =>
      runCommandLine(
        ['explain', '--digest', digest, '--url', url, '--token-file', join(home, 'token'), ...args],
        terminal,
        COMMANDS,
      );

    it('sends the token of a file, and trusts only the CA of a file', async () => {
      answers = explaining(SERVED);
      expect(await ask('--ca', join(home, 'ca.crt'))).to.equal(0);
      expect(tokens).to.deep.equal(['Bearer canary.token']);
      expect(terminal.stdout.text).to.equal(SERVED);
    });

    for (const [status, remedy] of [
      [401, 'it does not accept the token, which may have expired or belong to another cluster'],
      [403, 'the user of the token may not get /explain, which a ClusterRole of the chart allows'],
    ] as const) {
      it(`names the cause of a ${String(status)}`, async () => {
        answers = (_request, response) => response.writeHead(status).end();
        expect(await ask('--ca', join(home, 'ca.crt'))).to.equal(1);
        expect(terminal.stderr.text).to.include(`answered with status ${String(status)}: ${remedy}`);
      });
    }

    it('names the wrong flag or file, and never prints a token', async () => {
      const pem = '-----BEGIN CERTIFICATE-----\n';
      await writeFile(join(home, 'empty'), '\n');
      await writeFile(join(home, 'no.crt'), 'canary');
      answers = explaining(SERVED);
      const jwt = 'eyJhbGciOiJSUzI1NiJ9.eyJjYW5hcnkiOjF9.canary';
      for (const [args, complaint] of [
        [[`--ca=${pem}`], '--ca is the certificate itself, not a path'],
        [['--ca', join(home, 'no.crt')], 'no.crt: has no PEM certificate'],
        [['--ca', join(home, 'none')], 'none: cannot be read (ENOENT)'],
        [['--token-file', join(home, 'empty')], 'empty: is empty'],
        [['--token-file', join(home, 'ca.crt')], 'ca.crt: does not hold exactly one token'],
        [['--token-file', jwt], '--token-file is the token itself, not a path'],
        [['--url', 'http://127.0.0.1:1'], '--token-file needs https: the token is a secret'],
        [['--keys', home], 'either --keys or --token-file'],
        [[], 'its certificate is not signed by a trusted CA, see --ca'],
      ] as const) {
        terminal = new FakeTerminal();
        expect(await ask(...args), complaint).to.equal(1);
        expect(terminal.stderr.text).to.include(complaint).and.not.include('canary').and.not.include('eyJ');
      }
      expect(tokens).to.deep.equal([]);
    });

    const image = makePackage(10);
    const kept = (layer: string): string =>
      `${SERVED.replace('digest      sha256:…\n', '')}manifest    cached: stored\nlayer       ${layer}\n`;
    for (const [what, manifest, layer, code, line] of [
      [
        'this manifest',
        image.manifest.bytes,
        image.layer.descriptor.digest,
        0,
        'the manifest has this digest, and names this layer',
      ],
      [
        'another manifest',
        makePackage(11).manifest.bytes,
        image.layer.descriptor.digest,
        2,
        'no: the service has a manifest of sha256:',
      ],
      [
        'another layer',
        image.manifest.bytes,
        makePackage(11).layer.descriptor.digest,
        2,
        'no: the manifest has this digest, and names the layer sha256:',
      ],
    ] as const) {
      it(`computes with --verify whether the service has ${what}`, async () => {
        answers = (request, response) =>
          response.end(request.url?.startsWith('/manifest') === true ? manifest : kept(layer));
        expect(await ask('--ca', join(home, 'ca.crt'), '--verify')).to.equal(code);
        expect(terminal.stdout.text.split('\n').at(-2))
          .to.match(/^verified {4}/)
          .and.to.include(line);
      });
    }

    it('does not request a manifest that the service would have to fetch', async () => {
      answers = explaining(`${SERVED}manifest    not cached\n`);
      expect(await ask('--ca', join(home, 'ca.crt'), '--verify')).to.equal(0);
      expect(tokens).to.have.lengthOf(1);
      expect(terminal.stdout.text).to.include('verified    nothing: the manifest is not cached\n');
    });
  });

  it('ends at once when it is interrupted', async () => {
    expect(
      await run(() => {
        terminal.interrupt();
      }),
    ).to.equal(130);
  });
});
