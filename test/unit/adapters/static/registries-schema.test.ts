import { expect } from 'chai';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { registriesSchema } from '../../../../src/adapters/static/registries-schema.ts';
import { StaticCredentialProvider } from '../../../../src/adapters/static/static-credential-provider.ts';
import { CertificateAuthority } from '../../../../src/adapters/cli/certificate.ts';
import { DEFAULT_REPOSITORY, parseRepositoryName } from '../../../../src/domain/reference.ts';
import type { Upstream } from '../../../../src/domain/upstream.ts';

const REPO = 'registry.example.com/a';
const configOf = (password: string): string =>
  JSON.stringify({ auths: { 'registry.example.com': { username: 'robot', password } } });

describe('a registry with files', () => {
  let directory: string;
  let now: number;
  let complaints: string[];
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'registries-schema-'));
    now = 0;
    complaints = [];
  });
  afterEach(() => rm(directory, { recursive: true }));

  const file = async (name: string, text: string): Promise<string> => {
    const path = join(directory, name);
    await writeFile(`${path}.new`, text);
    await rename(`${path}.new`, path);
    return path;
  };

  const provide = (fields: object): StaticCredentialProvider =>
    new StaticCredentialProvider(registriesSchema.parse([{ repo: REPO, default: true, ...fields }]), {
      onUnusable: (name, reason) => complaints.push(`${name}: ${reason}`),
      now: () => now,
    });

  /** A second later, so that the files are looked at. */
  const resolve = async (provider: StaticCredentialProvider): Promise<Upstream> => {
    now += 1000;
    return provider.resolve(DEFAULT_REPOSITORY);
  };
  const passwordOf = ({ registry: { credential } }: Upstream): string =>
    credential.kind === 'basic' ? credential.password.reveal() : credential.kind;

  it('uses the password of its file, and reads it again after a change', async () => {
    const passwordFile = await file('password', 'canary-1\n');
    const provider = provide({ username: 'robot', passwordFile });
    const first = await resolve(provider);
    expect(passwordOf(first)).to.equal('canary-1');
    await file('password', 'canary-1\n');
    expect(await resolve(provider)).to.equal(first);
    await file('password', 'canary-2');
    expect(passwordOf(await provider.resolve(parseRepositoryName(REPO)))).to.equal('canary-1');
    const second = await resolve(provider);
    expect(passwordOf(second)).to.equal('canary-2');
    expect(second.registry).not.to.equal(first.registry);
  });

  it('accepts a docker config as JSON and in base64', async () => {
    const dockerCfgFile = await file('config.json', configOf('canary-1'));
    const provider = provide({ dockerCfgFile });
    expect(passwordOf(await resolve(provider))).to.equal('canary-1');
    await file('config.json', Buffer.from(configOf('canary-2')).toString('base64'));
    expect(passwordOf(await resolve(provider))).to.equal('canary-2');
  });

  it('trusts the certificates of its file', async () => {
    const caFile = await file('ca.crt', new CertificateAuthority('a').certificate);
    const provider = provide({ caFile });
    const [first] = (await resolve(provider)).registry.ca;
    await file('ca.crt', new CertificateAuthority('a').certificate);
    const { ca } = (await resolve(provider)).registry;
    expect(ca).to.have.lengthOf(1);
    expect(ca).not.to.include(first);
  });

  it('keeps the previous state while a file cannot be used, and reports this once', async () => {
    const caFile = await file('ca.crt', new CertificateAuthority('a').certificate);
    const provider = provide({ caFile });
    const first = await resolve(provider);
    await file('ca.crt', 'nonsense');
    for (let times = 0; times < 3; times++) expect(await resolve(provider)).to.equal(first);
    expect(complaints).to.deep.equal([`${REPO}: caFile: has no PEM certificate`]);
    expect(provider.sources()[0]?.rejected).to.deep.equal([{ object: REPO, reason: 'caFile: has no PEM certificate' }]);
    await rm(caFile);
    expect(await resolve(provider)).to.equal(first);
    expect(complaints.at(-1)).to.equal(`${REPO}: caFile: the file cannot be read (ENOENT)`);
    await file('ca.crt', new CertificateAuthority('a').certificate);
    expect(await resolve(provider)).not.to.equal(first);
    expect(provider.sources()[0]?.rejected).to.deep.equal([]);
  });

  for (const [fields, path, message] of [
    [
      { username: 'a', password: 'b', passwordFile: import.meta.filename },
      'passwordFile',
      'there is a password already',
    ],
    [{ passwordFile: import.meta.filename }, 'passwordFile', 'username and password go together'],
    [{ username: 'a', passwordFile: '/nowhere' }, 'passwordFile', 'the file cannot be read (ENOENT)'],
    [{ username: 'a', passwordFile: '/dev/zero' }, 'passwordFile', 'is not a file of at most 1 MiB'],
    [{ ca: '/etc/ca.crt' }, 'ca', 'is a path, not the certificate itself: caFile takes a path'],
    [{ caFile: '-----BEGIN CERTIFICATE-----' }, 'caFile', 'is the certificate itself, not a path: ca takes it'],
    [
      { dockerCfg: '{"auths":{}}' },
      'dockerCfg',
      'is the docker config without base64: dockerCfgFile takes a file of it',
    ],
    [{ dockerCfg: 'config.json' }, 'dockerCfg', 'is a path, not the docker config: dockerCfgFile takes a path'],
  ] as const) {
    it(`is refused with ${JSON.stringify(fields)}`, () => {
      const { error } = registriesSchema.safeParse([{ repo: REPO, ...fields }]);
      expect(error?.issues.map((issue) => [issue.path.join('.'), issue.message])).to.deep.equal([
        [`0.${path}`, message],
      ]);
    });
  }
});
