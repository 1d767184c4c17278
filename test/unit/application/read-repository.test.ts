import { expect } from 'chai';
import sinon from 'sinon';
import { StaticCredentialProvider } from '../../../src/adapters/static/static-credential-provider.ts';
import { GetPackage } from '../../../src/application/get-package.ts';
import { ReadRepository } from '../../../src/application/read-repository.ts';
import { ResolvePackage } from '../../../src/application/resolve-package.ts';
import type { Digest } from '../../../src/domain/descriptor.ts';
import { isOneOf, PackageUnknownError, SignatureError } from '../../../src/domain/errors.ts';
import type { BlobSizes, ImageCatalog } from '../../../src/domain/ports/registry-gateway.ts';
import {
  type PackageRequest,
  parseRepositoryName,
  parseRepositoryPath,
  type Tag,
} from '../../../src/domain/reference.ts';
import { parseUpstream } from '../../../src/domain/upstream.ts';
import { makePackage } from '../../support/image.ts';
import { MemoryPackageStore } from '../../support/memory-package-store.ts';
import { type StubbedGateway, stubGateway } from '../../support/ports.ts';
import { rejection } from '../../support/rejection.ts';

const never = new AbortController().signal;
const NO_TURN = (): Promise<void> => Promise.resolve();
const PLATFORM = { os: 'linux', architecture: 'amd64' };

function configured(...repos: readonly string[]): StaticCredentialProvider {
  return new StaticCredentialProvider(
    repos.map((repo, index) => ({
      name: parseRepositoryName(repo),
      isDefault: index === 0,
      upstream: parseUpstream({ repo }),
    })),
  );
}

describe('ReadRepository', () => {
  const image = makePackage(1000);
  const { digest: layer } = image.layer.descriptor;
  let gateway: StubbedGateway;
  let blobSize: sinon.SinonStub<Parameters<BlobSizes['blobSize']>, Promise<number>>;
  let fetchTagged: sinon.SinonStub<Parameters<ImageCatalog['fetchTagged']>, Promise<Uint8Array>>;
  let check: sinon.SinonStub<[PackageRequest], Promise<void>>;
  let signatures: { readonly mode: 'report' | 'enforce'; readonly check: typeof check } | undefined;

  beforeEach(() => {
    gateway = stubGateway(image);
    blobSize = sinon.stub<Parameters<BlobSizes['blobSize']>, Promise<number>>().resolves(1000);
    fetchTagged = sinon
      .stub<Parameters<ImageCatalog['fetchTagged']>, Promise<Uint8Array>>()
      .resolves(image.manifest.bytes);
    check = sinon.stub<[PackageRequest], Promise<void>>().resolves();
    signatures = undefined;
  });

  function make(credentials = configured('registry.example/deckhouse/ee')): ReadRepository {
    const ports = { store: new MemoryPackageStore(), gateway, credentials, stopping: never };
    const manifests = new ResolvePackage({ ...ports, platform: PLATFORM });
    const packages = new GetPackage({ ...ports, resolve: manifests, parallelDownloads: 4 });
    return new ReadRepository({
      ...ports,
      manifests,
      packages,
      signatures,
      catalog: { fetchTagged },
      sizes: { blobSize },
    });
  }

  const requestOf = (digest: Digest, path?: string): PackageRequest => ({
    digest,
    repository: parseRepositoryName(''),
    path: path === undefined ? undefined : parseRepositoryPath(path),
  });
  const foundIn =
    (repositories: ReadRepository) =>
    async (name: string, host?: string): Promise<string> => {
      const place = await repositories.find(parseRepositoryPath(name), host).catch((error: unknown) => {
        if (isOneOf(error, 'NAME_UNKNOWN')) return undefined;
        throw error;
      });
      return place === undefined ? 'unknown' : `${place.repository} ${place.path ?? '-'}`;
    };

  it('finds a repository by its full name only in the default registry', async () => {
    const find = foundIn(make());
    expect(await find('deckhouse/ee')).to.equal(' -');
    expect(await find('deckhouse/ee/ingress')).to.equal(' ingress');
    expect(await find('deckhouse/ee/ingress', 'registry.example')).to.equal('registry.example/deckhouse/ee ingress');
    for (const name of ['deckhouse', 'deckhouse/eex', 'ingress', 'other/deckhouse/ee']) {
      expect(await find(name), name).to.equal('unknown');
      expect(await find(name, 'registry.example'), name).to.equal('unknown');
    }
  });

  it('asks no registry that is not configured, for any name of a client', async () => {
    const find = foundIn(make(configured('registry.example/deckhouse/ee', 'whole.example:5000')));
    for (const host of [
      'evil.example',
      '127.0.0.1:6443',
      '169.254.169.254',
      'registry.example:8443',
      'whole.example',
    ]) {
      expect(await find('deckhouse/ee', host), host).to.equal('unknown');
    }
    expect(await find('any/thing', 'whole.example:5000')).to.equal('whole.example:5000 any/thing');
    sinon.assert.notCalled(gateway.fetchManifest);
  });

  it('finds the closest of several configured repositories', async () => {
    const find = foundIn(make(configured('r.example/a', 'r.example/a/b/c', 'r.example/a/b')));
    expect(await find('a/x')).to.equal(' x');
    expect(await find('a/b/x')).to.equal('r.example/a/b x');
    expect(await find('a/b/c/x')).to.equal('r.example/a/b/c x');
    expect(await find('a/b/cx', 'r.example')).to.equal('r.example/a/b cx');
  });

  it('finds a registry also with its default port, and with each name of Docker Hub', async () => {
    const find = foundIn(make(configured('r.example/a', 'docker.io/library', 'p.example:443/b')));
    expect(await find('a', 'r.example:443')).to.equal('r.example/a -');
    expect(await find('a', 'r.example:80')).to.equal('unknown');
    expect(await find('b', 'p.example')).to.equal('p.example:443/b -');
    for (const host of ['docker.io', 'index.docker.io', 'registry-1.docker.io']) {
      expect(await find('library/alpine', host), host).to.equal('docker.io/library alpine');
    }
  });

  it('does not treat the bare host of the default registry as a path to all of its repositories', async () => {
    // The Secret of the default registry goes by its bare host, too, which stands for the repository in it.
    const upstream = parseUpstream({ repo: 'r.example/a' });
    const names = ['r.example/a', 'r.example'].map(parseRepositoryName);
    const find = foundIn(
      make(new StaticCredentialProvider(names.map((name, index) => ({ name, isDefault: index === 0, upstream })))),
    );
    expect(await find('secret/b', 'r.example')).to.equal('unknown');
    expect(await find('a/b', 'r.example')).to.equal('r.example/a b');
  });

  it('asks no registry for the size of a blob that a manifest of the repository has', async () => {
    const repositories = make();
    await repositories.manifest(requestOf(image.digest));
    const { blob } = await repositories.blob(requestOf(layer), never, NO_TURN);
    expect(blob.size).to.equal(1000);
    await blob.close();
    sinon.assert.notCalled(blobSize);
  });

  it('requests a size once for concurrent requests, and uses the size of a cached blob', async () => {
    const repositories = make();
    const heads = await Promise.all([1, 2, 3].map(() => repositories.head(requestOf(layer), never)));
    expect(heads.map(({ package: { layer: found } }) => found.size)).to.deep.equal([1000, 1000, 1000]);
    sinon.assert.calledOnce(blobSize);
    const { blob } = await repositories.blob(requestOf(layer), never, NO_TURN);
    await blob.read(1000);
    await blob.close();
    blobSize.rejects(new Error('asked again'));
    const { storedAt } = await repositories.head(requestOf(layer), never);
    expect(storedAt).to.be.instanceOf(Date);
  });

  it('uses no size from a manifest of another repository, which may be wrong', async () => {
    const repositories = make();
    await repositories.manifest(requestOf(image.digest, 'one'));
    await repositories.head(requestOf(layer, 'other'), never);
    sinon.assert.calledOnce(blobSize);
  });

  it('requests a tag from the registry each time, once for concurrent requests', async () => {
    const repositories = make();
    const place = { repository: parseRepositoryName(''), path: undefined };
    const ask = (): Promise<Digest> => repositories.tagged(place, 'v1' as Tag, never);
    expect(await Promise.all([ask(), ask()])).to.deep.equal([image.digest, image.digest]);
    sinon.assert.calledOnce(fetchTagged);
    await ask();
    sinon.assert.calledTwice(fetchTagged);
  });

  it('delivers only blobs of signed images if signatures are enforced', async () => {
    signatures = { mode: 'enforce', check };
    const repositories = make();
    const early = await rejection(repositories.blob(requestOf(layer), never, NO_TURN));
    expect(early).to.be.instanceOf(SignatureError);
    expect(early.cause).to.have.property('message', 'no manifest here has named this blob yet');
    await repositories.manifest(requestOf(image.digest));
    await (await repositories.blob(requestOf(layer), never, NO_TURN)).blob.close();
    sinon.assert.calledOnceWithMatch(check, { digest: image.digest });
    // The key is no longer trusted.
    check.rejects(new SignatureError('invalid', 'no trusted key'));
    for (const work of [
      repositories.blob(requestOf(layer), never, NO_TURN),
      repositories.head(requestOf(layer), never),
    ]) {
      expect(await rejection(work)).to.be.instanceOf(SignatureError);
    }
    // Nor by way of another place, whose manifests have not named it.
    expect(await rejection(repositories.head(requestOf(layer, 'other'), never))).to.be.instanceOf(SignatureError);
  });

  it('rejects as the registry does for a blob that it does not have', async () => {
    blobSize.rejects(new PackageUnknownError('BLOB_UNKNOWN'));
    const error = await rejection(make().head(requestOf(makePackage(5, 9).layer.descriptor.digest), never));
    expect(error).to.include({ code: 'BLOB_UNKNOWN' });
  });
});
