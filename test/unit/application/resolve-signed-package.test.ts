import { expect } from 'chai';
import sinon from 'sinon';
import { ResolvePackage } from '../../../src/application/resolve-package.ts';
import {
  ResolveSignedPackage,
  type SignatureFinding,
  type SignatureMode,
} from '../../../src/application/resolve-signed-package.ts';
import type { Digest } from '../../../src/domain/descriptor.ts';
import { PackageUnknownError, SignatureError, UpstreamUnavailableError } from '../../../src/domain/errors.ts';
import { DEFAULT_REPOSITORY, type PackageRequest, parseRepositoryPath } from '../../../src/domain/reference.ts';
import type { SignatureVerdict, SignatureVerifier } from '../../../src/domain/ports/signature-verifier.ts';
import { makeIndex, makePackage } from '../../support/image.ts';
import { MemoryPackageStore } from '../../support/memory-package-store.ts';
import { type StubbedGateway, stubCredentials, stubGateway, UPSTREAM } from '../../support/ports.ts';
import { rejection } from '../../support/rejection.ts';

const VALID: SignatureVerdict = { kind: 'valid', format: 'cosign', key: 'c0ffee' };
const MISSING: SignatureVerdict = { kind: 'missing', reason: 'there is none' };
const amd64 = { os: 'linux', architecture: 'amd64' };
const image = makePackage(1000);
const other = makePackage(2000, 2);
const index = makeIndex([
  { image, platform: amd64 },
  { image: other, platform: { os: 'linux', architecture: 'arm64' } },
]);

const requestOf = (digest: Digest, path?: string): PackageRequest => ({
  digest,
  repository: DEFAULT_REPOSITORY,
  path: path === undefined ? undefined : parseRepositoryPath(path),
});

describe('ResolveSignedPackage', () => {
  let gateway: StubbedGateway;
  let verdicts: Map<Digest, SignatureVerdict>;
  let keys: string;
  let verify: sinon.SinonStub<Parameters<SignatureVerifier['verify']>, Promise<SignatureVerdict>>;
  let found: SignatureFinding[];
  let clock: sinon.SinonFakeTimers | undefined;

  beforeEach(() => {
    gateway = stubGateway(index);
    verdicts = new Map();
    keys = 'first';
    found = [];
    verify = sinon
      .stub<Parameters<SignatureVerifier['verify']>, Promise<SignatureVerdict>>()
      .callsFake(({ digest }) => Promise.resolve(verdicts.get(digest) ?? MISSING));
  });
  afterEach(() => {
    clock?.restore();
    clock = undefined;
  });

  function make(mode: SignatureMode = 'enforce'): ResolveSignedPackage {
    const ports = {
      store: new MemoryPackageStore(),
      gateway,
      credentials: stubCredentials(),
      platform: amd64,
      stopping: new AbortController().signal,
    };
    return new ResolveSignedPackage({
      ...ports,
      resolve: new ResolvePackage(ports),
      verifier: { keys: () => Promise.resolve(keys), verify },
      mode,
      observe: (finding) => found.push(finding),
    });
  }

  const kinds = (): string[] => found.map(({ verdict }) => verdict.kind);

  it('delivers a signed package, its manifest, and the remembered result', async () => {
    verdicts.set(image.digest, VALID);
    const resolve = make();
    const found_ = await resolve.execute(requestOf(image.digest));
    expect(found_.layer).to.deep.equal(image.layer.descriptor);
    expect((await resolve.manifest(requestOf(image.digest))).bytes).to.deep.equal(image.manifest.bytes);
    expect(await resolve.recall(image.digest)).to.deep.equal(found_);
    expect(resolve.finding(image.digest)).to.deep.include({ verdict: VALID, request: requestOf(image.digest) });
  });

  it('verifies once for all requests for an image, in any repository', async () => {
    verdicts.set(image.digest, VALID);
    const resolve = make();
    await Promise.all([1, 2, 3].map(() => resolve.execute(requestOf(image.digest))));
    await resolve.execute(requestOf(image.digest, 'elsewhere'));
    sinon.assert.calledOnce(verify);
    expect(kinds()).to.deep.equal(['valid']);
    expect(await verify.firstCall.args[1]()).to.deep.equal(UPSTREAM);
  });

  for (const kind of ['missing', 'invalid', 'unavailable'] as const) {
    it(`refuses an image whose signature is ${kind}, and its manifest`, async () => {
      verdicts.set(image.digest, { kind, reason: 'because' });
      const resolve = make();
      for (const refused of [resolve.execute(requestOf(image.digest)), resolve.manifest(requestOf(image.digest))]) {
        const error = await rejection(refused);
        expect(error).to.be.instanceOf(SignatureError);
        expect(error).to.have.property('code', 'SIGNATURE_INVALID');
        expect(error).to.have.nested.property('cause.message', 'because');
      }
      sinon.assert.calledOnce(verify);
    });

    it(`only reports a signature that is ${kind} to observers in report mode`, async () => {
      verdicts.set(image.digest, { kind, reason: 'because' });
      expect((await make('report').execute(requestOf(image.digest))).layer).to.deep.equal(image.layer.descriptor);
      expect(kinds()).to.deep.equal([kind]);
    });
  }

  it('verifies a refused image again after a while, and in another repository at once', async () => {
    clock = sinon.useFakeTimers({ toFake: ['Date', 'performance'] });
    const resolve = make();
    await rejection(resolve.execute(requestOf(image.digest)));
    await rejection(resolve.execute(requestOf(image.digest)));
    sinon.assert.calledOnce(verify);
    await rejection(resolve.execute(requestOf(image.digest, 'elsewhere')));
    sinon.assert.calledTwice(verify);
    verdicts.set(image.digest, VALID);
    clock.tick(30_001);
    await resolve.execute(requestOf(image.digest, 'elsewhere'));
    sinon.assert.calledThrice(verify);
    // The signature covers the bytes, so the first place serves them, too.
    await resolve.execute(requestOf(image.digest));
    sinon.assert.calledThrice(verify);
  });

  it('asks a registry again after seconds if it failed, also when the wall clock is set back', async () => {
    clock = sinon.useFakeTimers({ toFake: ['Date', 'performance'], now: Date.UTC(2027) });
    verdicts.set(image.digest, { kind: 'unavailable', reason: 'status 500' });
    const resolve = make();
    await rejection(resolve.execute(requestOf(image.digest)));
    clock.tick(5001);
    clock.setSystemTime(Date.UTC(2026));
    verdicts.set(image.digest, VALID);
    await resolve.execute(requestOf(image.digest));
  });

  it('drops a verdict when the keys change', async () => {
    verdicts.set(image.digest, VALID);
    const resolve = make();
    await resolve.execute(requestOf(image.digest));
    keys = 'second';
    verdicts.set(image.digest, { kind: 'invalid', reason: 'another key' });
    expect(await rejection(resolve.execute(requestOf(image.digest)))).to.be.instanceOf(SignatureError);
    expect(resolve.finding(image.digest)).to.have.nested.property('verdict.kind', 'invalid');
  });

  it('accepts all images of a signed index', async () => {
    verdicts.set(index.digest, VALID);
    const resolve = make();
    await resolve.execute(requestOf(index.digest));
    await resolve.execute(requestOf(image.digest));
    await resolve.execute(requestOf(other.digest));
    sinon.assert.calledOnce(verify);
    expect(resolve.finding(other.digest)).to.have.property('index', index.digest);
  });

  it('accepts an index whose image for the platform is signed, and no other image of it', async () => {
    verdicts.set(image.digest, VALID);
    const resolve = make();
    await resolve.execute(requestOf(index.digest));
    expect(await rejection(resolve.execute(requestOf(other.digest)))).to.be.instanceOf(SignatureError);
    expect(kinds()).to.deep.equal(['valid', 'missing']);
  });

  it('reports the invalid signature of an index rather than the missing one of its image', async () => {
    verdicts.set(index.digest, { kind: 'invalid', reason: 'another key' });
    expect(await rejection(make().execute(requestOf(index.digest)))).to.have.nested.property(
      'cause.message',
      'another key',
    );
  });

  it('reads an index without refusing it', async () => {
    const resolve = make();
    await resolve.learn(requestOf(index.digest));
    verdicts.set(index.digest, VALID);
    keys = 'second';
    await resolve.learn(requestOf(index.digest));
    await resolve.execute(requestOf(other.digest));
  });

  it('rejects with the error of the registry if the image cannot be fetched', async () => {
    for (const mode of ['report', 'enforce'] as const) {
      const absent = requestOf(makePackage(1, 9).digest);
      expect(await rejection(make(mode).execute(absent))).to.be.instanceOf(PackageUnknownError);
    }
    expect(found).to.deep.equal([]);
  });

  it('serves a package in report mode if its manifest cannot be read again, and refuses it in enforce mode', async () => {
    for (const mode of ['report', 'enforce'] as const) {
      verdicts.set(image.digest, VALID);
      keys = 'first';
      const resolve = make(mode);
      await resolve.execute(requestOf(image.digest));
      keys = 'second';
      const failing = sinon.stub(ResolvePackage.prototype, 'manifest').rejects(new UpstreamUnavailableError());
      try {
        const again = resolve.execute(requestOf(image.digest));
        if (mode === 'report') await again;
        else expect(await rejection(again)).to.be.instanceOf(UpstreamUnavailableError);
      } finally {
        failing.restore();
      }
    }
    expect(kinds()).to.deep.equal(['valid', 'unavailable', 'valid']);
  });

  it('ends a verification with the process', async () => {
    const stopping = new AbortController();
    stopping.abort();
    verdicts.set(image.digest, VALID);
    const ports = { store: new MemoryPackageStore(), gateway, credentials: stubCredentials(), platform: amd64 };
    const never = new AbortController().signal;
    const resolve = new ResolveSignedPackage({
      ...ports,
      stopping: stopping.signal,
      resolve: new ResolvePackage({ ...ports, stopping: never }),
      verifier: { keys: () => Promise.resolve(keys), verify },
      mode: 'enforce',
      observe: () => undefined,
    });
    await resolve.execute(requestOf(image.digest));
    expect(verify.firstCall.args[2].aborted).to.equal(true);
  });
});
