import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FollowedCredential } from '../../../../src/adapters/sources/followed-credential.ts';
import { Mirror } from '../../../../src/adapters/sources/mirror.ts';
import {
  DigestMismatchError,
  UpstreamDeniedError,
  UpstreamThrottledError,
  UpstreamUnavailableError,
} from '../../../../src/domain/errors.ts';
import type { Upstream } from '../../../../src/domain/upstream.ts';
import { FakeBucket } from '../../../support/fake-bucket.ts';
import { BASIC, FakeRegistry, PASSWORD } from '../../../support/fake-registry.ts';
import { bytesOf, makePackage, type TestImage } from '../../../support/image.ts';
import { makeRegistryGateway } from '../../../support/registry-gateway.ts';
import { rejection } from '../../../support/rejection.ts';
import { makeBucket, makeS3Gateway } from '../../../support/s3-gateway.ts';
import { makeSources, mirrorOf, mirrorSettings, type Sourced } from '../../../support/sources.ts';

const never = new AbortController().signal;
const MIB = 1024 * 1024;

describe('SourcesGateway', () => {
  let mirror: FakeRegistry;
  let origin: FakeRegistry;
  let upstream: Upstream;
  let sourced: Sourced;
  const small = makePackage(1000, 1);
  const large = makePackage(MIB, 2);

  beforeEach(async () => {
    [mirror, origin] = [await FakeRegistry.start(), await FakeRegistry.start({ auth: 'basic' })];
    upstream = origin.upstream();
    for (const registry of [mirror, origin]) registry.publish(small, large);
    sourced = makeSources(makeRegistryGateway({ retryTimeoutMs: 0 }), [mirrorOf(mirror.host)]);
  });
  afterEach(() => Promise.all([mirror.close(), origin.close()]));

  const manifest = ({ digest }: TestImage): Promise<Uint8Array> =>
    sourced.gateway.fetchManifest(upstream, digest, never);
  const layer = async ({ layer: { descriptor } }: TestImage): Promise<Buffer> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of await sourced.gateway.fetchBlob(upstream, descriptor, 0, never)) {
      chunks.push(new Uint8Array(chunk));
    }
    return Buffer.concat(chunks);
  };
  /** The mirror answers blobs so. */
  const answer = (how: (response: ServerResponse, image: TestImage) => void, image = large): void => {
    mirror.script(({ url }, response) => {
      if (!url.includes(`/blobs/${image.layer.descriptor.digest}`)) return false;
      how(response, image);
      return true;
    });
  };
  const isRight = (bytes: Buffer, image: TestImage): void => {
    expect(Buffer.compare(bytes, image.layer.bytes)).to.equal(0);
  };

  it('asks only the mirror, sends it the name of the registry, and not its credential', async () => {
    await manifest(small);
    isRight(await layer(large), large);
    expect(origin.log).to.deep.equal([]);
    expect(mirror.log).to.have.lengthOf(2);
    for (const { url, headers } of mirror.log) {
      expect(url).to.match(/\?ns=127\.0\.0\.1%3A\d+$/);
      expect(headers.authorization).to.equal(undefined);
      expect(JSON.stringify(headers)).not.to.include(PASSWORD);
    }
    expect(sourced.reasons()).to.deep.equal([]);
  });

  it('gets content from the registry that the mirror does not have, and continues to ask the mirror', async () => {
    const other = makePackage(10, 3);
    origin.publish(other);
    isRight(await layer(other), other);
    isRight(await layer(large), large);
    expect(sourced.reasons()).to.deep.equal([`${mirror.host} absent`]);
    expect(sourced.gateway.sources()[0]?.resting).to.equal(undefined);
  });

  it('asks a failing mirror last for a while', async () => {
    mirror.failTimes('/blobs/', { status: 500 });
    isRight(await layer(large), large);
    isRight(await layer(large), large);
    expect(mirror.requests('/blobs/')).to.have.lengthOf(1);
    expect(sourced.reasons()).to.deep.equal([`${mirror.host} failed`, `${mirror.host} resting`]);
    origin.script((_request, response) => {
      response.writeHead(500).end();
      return true;
    });
    isRight(await layer(large), large);
    expect(mirror.requests('/blobs/')).to.have.lengthOf(2);
  });

  it('does not count the refusal of one repository as a failure of the mirror', async () => {
    mirror.failTimes('/blobs/', { status: 403 });
    isRight(await layer(large), large);
    expect(sourced.gateway.sources()[0]).to.include({ isFailing: true, resting: undefined });
    const elsewhere = origin.upstream({
      repo: `${origin.host}/another`,
      auth: { username: 'robot', password: PASSWORD },
    });
    await sourced.gateway.fetchManifest(elsewhere, small.digest, never);
    expect(mirror.requests('/another/')).to.have.lengthOf(1);
    await manifest(small);
    expect(mirror.requests('/manifests/')).to.have.lengthOf(1);
  });

  it('asks also the registry if the mirror does not answer, and uses the first answer', async () => {
    sourced = makeSources(makeRegistryGateway(), [mirrorOf(mirror.host)], { patienceMs: 50 });
    answer(() => undefined);
    isRight(await layer(large), large);
    expect(sourced.reasons()).to.deep.equal([`${mirror.host} late`]);
    isRight(await layer(large), large);
    expect(mirror.requests('/blobs/')).to.have.lengthOf(1);
  });

  it('does not ask a registry with a Retry-After while the mirror does not answer', async () => {
    sourced = makeSources(makeRegistryGateway({ retryTimeoutMs: 0 }), [mirrorOf(mirror.host)], { patienceMs: 50 });
    origin.failTimes('/manifests/', { status: 429, headers: { 'retry-after': '60' } });
    const unknown = makePackage(9, 9);
    expect(await rejection(manifest(unknown))).to.be.instanceOf(UpstreamThrottledError);
    const asked = origin.log.length;
    answer((response, { layer: { bytes } }) => setTimeout(() => response.end(bytes), 250));
    isRight(await layer(large), large);
    expect(origin.log.length).to.equal(asked);
  });

  it('continues from the same byte at the next source when the mirror breaks off', async () => {
    answer((response, { layer: { bytes } }) => {
      response.writeHead(200, { 'content-length': bytes.byteLength });
      response.write(bytes.subarray(0, MIB / 2), () => response.socket?.resetAndDestroy());
    });
    isRight(await layer(large), large);
    const ranges = origin.requests('/blobs/').map(({ headers }) => headers.range);
    // The reset overtakes some of what was sent before.
    expect(ranges.at(-1)).to.match(/^bytes=[1-9]\d*-1048575$/);
    expect(sourced.reasons()).to.deep.equal([`${mirror.host} failed`]);
  });

  it('continues at the next source when the mirror is too slow', async () => {
    sourced = makeSources(
      makeRegistryGateway({ retryTimeoutMs: 0 }),
      [mirrorOf(mirror.host, {}, { idleTimeoutMs: 10_000 })],
      {
        minimumRate: 4 * MIB,
      },
    );
    answer((response, { layer: { bytes } }) => {
      response.writeHead(200, { 'content-length': bytes.byteLength });
      response.write(bytes.subarray(0, 100));
    });
    isRight(await layer(large), large);
    expect(sourced.reasons()).to.deep.equal([`${mirror.host} slow`]);
    expect(origin.requests('/blobs/').at(-1)?.headers.range).to.equal(`bytes=100-${String(MIB - 1)}`);
  }).timeout(20_000);

  it('never delivers a wrong manifest or a wrong small blob', async () => {
    mirror.script(({ url }, response) => {
      response.end(url.includes('/manifests/') ? '{"schemaVersion":2,"a":1}' : bytesOf(1000, 7));
      return true;
    });
    expect(Buffer.compare(await manifest(small), small.manifest.bytes)).to.equal(0);
    isRight(await layer(small), small);
    expect(sourced.reasons()).to.deep.equal([`${mirror.host} distrusted`, `${mirror.host} distrusted`]);
    await layer(small);
    expect(mirror.requests('/blobs/')).to.have.lengthOf(1);
  });

  it('does not ask a mirror again for a digest for which it sent wrong bytes', async () => {
    answer((response) => response.end(bytesOf(MIB, 9)));
    const { digest } = large.layer.descriptor;
    expect(Buffer.compare(await layer(large), large.layer.bytes)).not.to.equal(0);
    sourced.gateway.mismatched(new DigestMismatchError(digest, 'sha256:other'), digest);
    isRight(await layer(large), large);
    expect(mirror.requests('/blobs/')).to.have.lengthOf(1);
    expect(sourced.gateway.sources()[0]).to.include({ distrusted: 1, resting: undefined });
    sourced.gateway.healed('mirror', digest);
    await layer(large);
    expect(mirror.requests('/blobs/')).to.have.lengthOf(2);
  });

  it('does not pause a mirror for one blob of another size', async () => {
    answer((response) => response.end(bytesOf(MIB - 1, 2)));
    isRight(await layer(large), large);
    expect(sourced.reasons()).to.deep.equal([`${mirror.host} distrusted`]);
    expect(sourced.gateway.sources()[0]).to.include({ distrusted: 1, resting: undefined, isFailing: false });
    isRight(await layer(small), small);
    isRight(await layer(large), large);
    expect(origin.requests('/blobs/').map(({ url }) => url.includes(small.layer.descriptor.digest))).not.to.include(
      true,
    );
    expect(mirror.requests(`/blobs/${large.layer.descriptor.digest}`)).to.have.lengthOf(1);
  });

  it('asks a mirror again for a distrusted digest after an hour, and a bucket when the object was replaced', async () => {
    let time = 0;
    const { digest } = large.layer.descriptor;
    for (const kind of ['mirror', 'bucket'] as const) {
      const source = mirrorOf(mirror.host);
      const located = { kind, name: kind, fallback: true, gateway: source.gateway, locate: source.locate.bind(source) };
      sourced = makeSources(makeRegistryGateway({ retryTimeoutMs: 0 }), [located], {}, () => time);
      const asked = async (): Promise<boolean> => {
        const before = mirror.log.length;
        await layer(large);
        return mirror.log.length > before;
      };
      expect(await asked()).to.equal(true);
      sourced.gateway.mismatched(new DigestMismatchError(digest, 'sha256:other'), digest);
      expect(await asked()).to.equal(false);
      time += 3_600_001;
      expect(await asked()).to.equal(kind === 'mirror');
      sourced.gateway.healed(kind, digest);
      expect(await asked()).to.equal(true);
    }
  });

  it('rejects with the error of the registry, not with that of a mirror', async () => {
    mirror.failTimes('/manifests/', { status: 500 });
    origin.script((_request, response) => {
      response.writeHead(403).end();
      return true;
    });
    const error = await rejection(manifest(small));
    expect(error).to.be.instanceOf(UpstreamDeniedError);
    expect((error.cause as Error).message).to.include(origin.host);
  });

  it('follows no redirect of a mirror to a more private network, and asks the registry instead', async () => {
    mirror.script((_request, response) => {
      response.writeHead(307, { location: 'http://169.254.169.254/latest/meta-data/' }).end();
      return true;
    });
    isRight(await layer(large), large);
    expect(sourced.reasons()).to.deep.equal([`${mirror.host} failed`]);
    const [{ error } = { error: undefined }] = sourced.switches;
    expect(((error as Error).cause as Error).message).to.include('ERR_FORBIDDEN_ADDRESS');
  });

  it('sends each mirror and the registry only its own credential, and none to a bucket', async () => {
    const home = await mkdtemp(join(tmpdir(), 'accounts-'));
    const files = { username: join(home, 'username'), password: join(home, 'password') };
    await writeFile(files.username, 'mirror-user');
    await writeFile(files.password, 'canary-of-the-mirror');
    const second = await FakeRegistry.start();
    const bucket = await FakeBucket.start();
    const settings = { ...mirrorSettings(mirror.host), files };
    const withAccount = new Mirror(settings, makeRegistryGateway(), new FollowedCredential(files, () => undefined));
    const stored = makeS3Gateway(makeBucket({ endpoint: bucket.endpoint }));
    const source = { kind: 'bucket', name: 'bucket', fallback: true, gateway: stored } as const;
    sourced = makeSources(makeRegistryGateway(), [
      withAccount,
      mirrorOf(second.host),
      { ...source, locate: (asked: Upstream) => asked },
    ]);
    const other = makePackage(5000, 44);
    origin.publish(other);
    // A mirror that wants an account, and lacks the content.
    mirror.script(({ headers }, response) => {
      const challenge = headers.authorization === undefined ? { 'www-authenticate': 'Basic realm="m"' } : {};
      response.writeHead(headers.authorization === undefined ? 401 : 404, challenge).end();
      return true;
    });
    isRight(await layer(other), other);
    const shown = ({ log }: Pick<FakeRegistry, 'log'>): (string | undefined)[] => [
      ...new Set(log.map(({ headers }) => headers.authorization)),
    ];
    const own = `Basic ${Buffer.from('mirror-user:canary-of-the-mirror').toString('base64')}`;
    expect(shown(mirror)).to.deep.equal([undefined, own]);
    expect(shown(second)).to.deep.equal([undefined]);
    expect(shown(origin)).to.deep.equal([undefined, BASIC]);
    expect(bucket.log.map(({ headers }) => headers.authorization?.split(' ')[0])).to.deep.equal(['AWS4-HMAC-SHA256']);
    await Promise.all([second.close(), bucket.close(), rm(home, { recursive: true })]);
  });

  it('never asks the registry if the mirror has fallback: false', async () => {
    sourced = makeSources(makeRegistryGateway({ retryTimeoutMs: 0 }), [mirrorOf(mirror.host, { fallback: false })]);
    mirror.failTimes('/manifests/', { status: 500 });
    expect(await rejection(manifest(small))).to.be.instanceOf(UpstreamUnavailableError);
    isRight(await layer(large), large);
    expect(origin.log).to.deep.equal([]);
  });

  it('asks two mirrors in order, and never a mirror of another registry', async () => {
    const second = await FakeRegistry.start();
    const third = await FakeRegistry.start();
    const other = makePackage(5000, 4);
    second.publish(other);
    sourced = makeSources(makeRegistryGateway(), [
      mirrorOf(third.host, { of: 'another.example' }),
      mirrorOf(mirror.host, { of: origin.host }),
      mirrorOf(second.host, { namespaceParameter: false, root: 'proxy/v2' }),
    ]);
    second.script((request, response) => {
      if (!request.url.startsWith('/proxy/v2/')) return false;
      response.end(other.layer.bytes);
      return true;
    });
    isRight(await layer(other), other);
    expect(mirror.log).to.have.lengthOf(1);
    expect(second.log.map(({ url }) => url)).to.deep.equal([
      `/proxy/v2/deckhouse/ee/blobs/${other.layer.descriptor.digest}`,
    ]);
    expect([...third.log, ...origin.log]).to.deep.equal([]);
    await Promise.all([second.close(), third.close()]);
  });
});
