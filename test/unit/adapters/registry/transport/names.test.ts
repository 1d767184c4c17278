import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Names } from '../../../../../src/adapters/registry/transport/names.ts';
import { FakeNameServer, type Question, type Reply } from '../../../../support/fake-name-server.ts';
import { rejection } from '../../../../support/rejection.ts';

describe('Names', () => {
  let folder: string;
  const closing: (() => Promise<unknown>)[] = [];
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'names-'));
  });
  afterEach(async () => {
    await Promise.all(closing.splice(0).map((close) => close()));
    await rm(folder, { recursive: true });
  });

  async function serve(reply: (question: Question) => Reply): Promise<FakeNameServer> {
    const server = await FakeNameServer.start(reply);
    closing.push(() => server.close());
    return server;
  }

  async function names(
    servers: readonly FakeNameServer[],
    { hosts = '', lines = '', timeoutMs = 5000 }: { hosts?: string; lines?: string; timeoutMs?: number } = {},
  ): Promise<Names> {
    const [hostsFile, resolvConf] = [join(folder, 'hosts'), join(folder, 'resolv.conf')];
    await writeFile(hostsFile, hosts);
    const nameservers = servers.map(({ address }) => `nameserver ${address}\n`).join('');
    await writeFile(resolvConf, nameservers + lines);
    return new Names({ timeoutMs, hostsFile, resolvConf });
  }

  const dual =
    (v4: Reply, v6: Reply) =>
    ({ type }: Question): Reply =>
      type === 'A' ? v4 : v6;

  it('queries both address families, and puts IPv6 first', async () => {
    const server = await serve(dual(['192.0.2.1', '192.0.2.2'], ['2001:db8::1']));
    expect(await (await names([server])).resolve('registry.test')).to.deep.equal({
      addresses: ['2001:db8::1', '192.0.2.1', '192.0.2.2'],
      isLocal: false,
    });
  });

  it('uses the hosts file without a query', async () => {
    const server = await serve(dual('NXDOMAIN', 'NXDOMAIN'));
    const files = await names([server], { hosts: '192.0.2.7 registry.test\n127.0.0.1 localhost\n' });
    for (const name of ['registry.test', 'REGISTRY.test', 'registry.test.']) {
      expect(await files.resolve(name)).to.deep.equal({ addresses: ['192.0.2.7'], isLocal: true });
    }
    expect(await files.resolve('localhost')).to.deep.equal({ addresses: ['127.0.0.1'], isLocal: true });
    expect(server.questions).to.deep.equal([]);
  });

  it('resolves localhost without any file', async () => {
    const server = await serve(dual(['192.0.2.1'], []));
    const expected = { addresses: ['::1', '127.0.0.1'], isLocal: true };
    for (const name of ['localhost', 'a.localhost']) {
      expect(await (await names([server])).resolve(name)).to.deep.equal(expected);
    }
  });

  it('uses one lookup for all concurrent callers, and for those of the next seconds', async () => {
    const server = await serve(dual(['192.0.2.1'], []));
    const resolver = await names([server]);
    await Promise.all(Array.from({ length: 50 }, () => resolver.resolve('registry.test')));
    await resolver.resolve('Registry.Test');
    expect(server.asked('registry.test')).to.equal(2);
  });

  for (const [reply, code] of [
    ['NXDOMAIN', 'ENOTFOUND'],
    [[], 'ENOTFOUND'],
    ['SERVFAIL', 'EAI_AGAIN'],
  ] as const) {
    it(`remembers ${JSON.stringify(reply)} as ${code}`, async () => {
      const server = await serve(dual(reply, reply));
      const resolver = await names([server]);
      expect(await rejection(resolver.resolve('registry.test'))).to.have.property('code', code);
      const asked = server.questions.length;
      expect(await rejection(resolver.resolve('registry.test'))).to.have.property('code', code);
      expect(server.questions).to.have.lengthOf(asked);
    });
  }

  it('ends a lookup without an answer, and sends no further query', async () => {
    const server = await serve(() => 'silence');
    const resolver = await names([server], { timeoutMs: 40, lines: 'search a.test b.test\noptions ndots:5\n' });
    expect(await rejection(resolver.resolve('registry'))).to.have.property('code', 'ETIMEDOUT');
    expect(new Set(server.questions.map(({ name }) => name))).to.deep.equal(new Set(['registry.a.test']));
  });

  it('looks a name up while a hundred others wait for silent servers', async () => {
    const server = await serve(({ name, type }) =>
      name.startsWith('dead') ? 'silence' : type === 'A' ? ['192.0.2.1'] : [],
    );
    const resolver = await names([server], { timeoutMs: 2000 });
    const dead = Array.from({ length: 100 }, (_, i) => rejection(resolver.resolve(`dead${String(i)}.test`)));
    const first = await Promise.race([resolver.resolve('registry.test'), ...dead]);
    expect(first).to.have.property('isLocal', false);
    for (const error of await Promise.all(dead)) expect(error).to.have.property('code', 'ETIMEDOUT');
  });

  it('asks the second server when the first is silent', async () => {
    const [dead, live] = [await serve(() => 'silence'), await serve(dual(['192.0.2.1'], []))];
    const resolver = await names([dead, live], { timeoutMs: 2000 });
    expect((await resolver.resolve('registry.test')).addresses).to.deep.equal(['192.0.2.1']);
  });

  for (const reply of ['SERVFAIL', 'REFUSED'] as const) {
    it(`asks the second server when the first answers ${reply}, and reports the failure of both`, async () => {
      const [broken, live] = [
        await serve(() => reply),
        await serve(({ name, type }) => (name !== 'registry.test' ? reply : type === 'A' ? ['192.0.2.1'] : [])),
      ];
      const resolver = await names([broken, live]);
      expect((await resolver.resolve('registry.test')).addresses).to.deep.equal(['192.0.2.1']);
      expect(await rejection(resolver.resolve('other.test'))).to.have.property('code', 'EAI_AGAIN');
      expect([broken.asked('other.test'), live.asked('other.test')]).to.deep.equal([2, 2]);
    });
  }

  it('asks no second server when the first denies the name', async () => {
    const [first, second] = [await serve(() => 'NXDOMAIN'), await serve(dual(['192.0.2.1'], []))];
    expect(await rejection((await names([first, second])).resolve('registry.test'))).to.have.property(
      'code',
      'ENOTFOUND',
    );
    expect(second.questions).to.deep.equal([]);
  });

  for (const [v6, what] of [
    ['silence', 'ignores'],
    ['SERVFAIL', 'cannot answer'],
    ['NXDOMAIN', 'denies'],
  ] as const) {
    it(`uses one address family of a server that ${what} queries for the other`, async () => {
      const server = await serve(dual(['192.0.2.1'], v6));
      expect((await (await names([server])).resolve('registry.test')).addresses).to.deep.equal(['192.0.2.1']);
    });
  }

  it('tries the search list before a name with few dots, and after a name with many', async () => {
    const server = await serve(({ name, type }) =>
      type === 'A' && ['registry.b.test', 'a.b.c.d'].includes(name) ? ['192.0.2.1'] : 'NXDOMAIN',
    );
    const resolver = await names([server], { lines: 'search a.test b.test\noptions ndots:3\n' });
    const asked = async (name: string): Promise<string[]> => {
      server.questions.length = 0;
      await resolver.resolve(name).catch(() => undefined);
      return [...new Set(server.questions.map((question) => question.name))];
    };
    expect(await asked('registry')).to.deep.equal(['registry.a.test', 'registry.b.test']);
    expect(await asked('a.b.c.d')).to.deep.equal(['a.b.c.d']);
    expect(await asked('a.b.c.e')).to.deep.equal(['a.b.c.e', 'a.b.c.e.a.test', 'a.b.c.e.b.test']);
    expect(await asked('other.')).to.deep.equal(['other']);
  });

  it('reports a temporary failure if one of the candidates of a name could not be looked up', async () => {
    const server = await serve(({ name }) => (name === 'registry.a.test' ? 'SERVFAIL' : 'NXDOMAIN'));
    const resolver = await names([server], { lines: 'search a.test\n' });
    expect(await rejection(resolver.resolve('registry'))).to.have.property('code', 'EAI_AGAIN');
  });

  it('remembers at most a thousand names', async () => {
    const server = await serve(dual(['192.0.2.1'], []));
    const resolver = await names([server]);
    for (let i = 0; i <= 1000; i++) await resolver.resolve(`${String(i)}.test`);
    for (const name of ['0.test', '1000.test']) await resolver.resolve(name);
    expect([server.asked('0.test'), server.asked('1000.test')]).to.deep.equal([4, 2]);
  });

  it('reports that an invalid name has no address', async () => {
    const server = await serve(dual(['192.0.2.1'], []));
    const resolver = await names([server]);
    for (const name of [`${'a'.repeat(64)}.test`, 'a..test']) {
      expect(await rejection(resolver.resolve(name)), name).to.have.property('code', 'ENOTFOUND');
    }
  });
});
