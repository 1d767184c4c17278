import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sinon from 'sinon';
import { parseHosts, parseResolvConf, WatchedFile } from '../../../../../src/adapters/registry/transport/name-files.ts';

describe('parseHosts', () => {
  it('returns each name of each line in lower case, with the addresses of all of its lines', () => {
    const hosts = parseHosts(
      '# kubelet\n127.0.0.1\tlocalhost  Registry.Test\n\n192.0.2.1 a.test # b.test\n2001:db8::1 a.test\n192.0.2.1 a.test\n',
    );
    expect([...hosts]).to.deep.equal([
      ['localhost', ['127.0.0.1']],
      ['registry.test', ['127.0.0.1']],
      ['a.test', ['192.0.2.1', '2001:db8::1']],
    ]);
  });

  it('skips lines that do not begin with an address', () => {
    expect([...parseHosts('registry.test 192.0.2.1\n192.0.2.999 a.test\n192.0.2.1\n')]).to.deep.equal([]);
  });
});

describe('parseResolvConf', () => {
  it('reads the file of a pod', () => {
    const text =
      'search ns.svc.cluster.local svc.cluster.local cluster.local.\nnameserver 10.96.0.10\noptions ndots:5 timeout:1\n';
    expect(parseResolvConf(text)).to.deep.equal({
      servers: ['10.96.0.10'],
      search: ['ns.svc.cluster.local', 'svc.cluster.local', 'cluster.local'],
      ndots: 5,
    });
  });

  for (const [what, text, expected] of [
    ['nothing', '', { servers: [], search: [], ndots: 1 }],
    ['the last of search and domain', 'search a b\ndomain c', { servers: [], search: ['c'], ndots: 1 }],
    ['an emptied search list', 'search a\nsearch .', { servers: [], search: [], ndots: 1 }],
    ['too many dots', 'options ndots:99', { servers: [], search: [], ndots: 15 }],
    ['comments', '; nameserver 192.0.2.1\n# search a\nsearch b ; c', { servers: [], search: ['b'], ndots: 1 }],
    [
      'addresses only',
      'nameserver dns.test\nnameserver ::1\nnameserver 192.0.2.1:5353\nnameserver [::1]:53',
      { servers: ['::1', '192.0.2.1:5353', '[::1]:53'], search: [], ndots: 1 },
    ],
  ] as const) {
    it(`reads ${what}`, () => {
      expect(parseResolvConf(text)).to.deep.equal(expected);
    });
  }
});

describe('WatchedFile', () => {
  let folder: string;
  let clock: sinon.SinonFakeTimers;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'watched-file-'));
    clock = sinon.useFakeTimers({ toFake: ['performance'] });
  });
  afterEach(async () => {
    clock.restore();
    await rm(folder, { recursive: true });
  });

  it('returns content that is at most a second old, and an empty text for a missing file', async () => {
    const path = join(folder, 'hosts');
    const file = new WatchedFile(path, (text) => ({ text }));
    expect(file.content.text).to.equal('');
    await writeFile(path, 'one');
    clock.tick(1000);
    const one = file.content;
    expect(one.text).to.equal('one');
    clock.tick(1000);
    expect(file.content).to.equal(one);
    await writeFile(path, 'another');
    expect(file.content).to.equal(one);
    clock.tick(1000);
    expect(file.content.text).to.equal('another');
    await rm(path);
    clock.tick(1000);
    expect(file.content.text).to.equal('');
  });
});
