import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { FollowedCredential } from '../../../../src/adapters/sources/followed-credential.ts';
import { Mirror } from '../../../../src/adapters/sources/mirror.ts';
import { UpstreamDeniedError } from '../../../../src/domain/errors.ts';
import { FakeRegistry } from '../../../support/fake-registry.ts';
import { makePackage } from '../../../support/image.ts';
import { makeRegistryGateway } from '../../../support/registry-gateway.ts';
import { rejection } from '../../../support/rejection.ts';
import { mirrorSettings } from '../../../support/sources.ts';

const never = new AbortController().signal;
const image = makePackage(10);

describe('the token of a mirror', function () {
  this.timeout(20_000);
  let home: string;
  let token: string;
  let registry: FakeRegistry;
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'token-'));
    token = join(home, 'token');
    registry = await FakeRegistry.start();
    registry.publish(image);
  });
  afterEach(async () => {
    await registry.close();
    await rm(home, { recursive: true });
  });

  const shown = (): (string | undefined)[] => registry.log.map(({ headers }) => headers.authorization);

  it('is sent with each request without a challenge, and read again when the file changes', async () => {
    await writeFile(token, 'canary.first\n');
    let onChange = Promise.withResolvers<Error | undefined>();
    const followed = new FollowedCredential({ token }, (error) => {
      onChange.resolve(error);
    });
    await followed.start();
    try {
      const mirror = new Mirror(
        { ...mirrorSettings(registry.host), files: { token } },
        makeRegistryGateway(),
        followed,
      );
      const fetch = async (): Promise<void> => {
        const upstream = mirror.locate(registry.upstream());
        if (upstream === undefined) throw new Error('not covered');
        expect(mirror.locate(registry.upstream())?.registry).to.equal(upstream.registry);
        expect(inspect(upstream, { depth: 9 })).not.to.include('canary');
        await mirror.gateway.fetchManifest(upstream, image.digest, never);
      };
      await fetch();
      await writeFile(token, 'canary.second');
      expect(await onChange.promise).to.equal(undefined);
      await fetch();
      expect(shown()).to.deep.equal(['Bearer canary.first', 'Bearer canary.second']);
      onChange = Promise.withResolvers();
      await writeFile(token, 'canary of two words');
      const error = await onChange.promise;
      expect(error?.message).to.include('holds no token').and.not.to.include('canary');
      await fetch();
      expect(shown().at(-1)).to.equal('Bearer canary.second');
    } finally {
      await followed.stop();
    }
  });

  it('is sent to no other host, and is the only answer to a challenge', async () => {
    await writeFile(token, 'canary');
    const elsewhere = await FakeRegistry.start();
    elsewhere.publish(image);
    const files = { token };
    const followed = new FollowedCredential(files, () => undefined);
    const mirror = new Mirror({ ...mirrorSettings(registry.host), files }, makeRegistryGateway(), followed);
    const upstream = mirror.locate(registry.upstream());
    if (upstream === undefined) throw new Error('not covered');
    let isOpen = true;
    registry.script(({ url }, response) => {
      if (isOpen) response.writeHead(307, { location: `${elsewhere.origin}${url}` }).end();
      else response.writeHead(401, { 'www-authenticate': `Bearer realm="${elsewhere.origin}/token"` }).end();
      return true;
    });
    await mirror.gateway.fetchManifest(upstream, image.digest, never);
    expect(elsewhere.log.map(({ headers }) => headers.authorization)).to.deep.equal([undefined]);
    isOpen = false;
    expect(await rejection(mirror.gateway.fetchManifest(upstream, image.digest, never))).to.be.instanceOf(
      UpstreamDeniedError,
    );
    expect(elsewhere.requests('/token')).to.deep.equal([]);
    await elsewhere.close();
  });
});
