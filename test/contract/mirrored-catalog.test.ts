import { expect } from 'chai';
import { MirroredCatalog } from '../../src/adapters/sources/mirrored-catalog.ts';
import { UpstreamUnavailableError } from '../../src/domain/errors.ts';
import type { Tag } from '../../src/domain/reference.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { makeRegistryGateway } from '../support/registry-gateway.ts';
import { rejection } from '../support/rejection.ts';
import { mirrorOf } from '../support/sources.ts';
import { describeBlobSizes } from './blob-sizes.ts';
import { describeImageCatalog, type Pages } from './image-catalog.ts';

const never = new AbortController().signal;
const ALONE = { fallback: false, namespaceParameter: false };
const TIMEOUTS = { headersTimeoutMs: 200, idleTimeoutMs: 1000, retryTimeoutMs: 400 };

describeImageCatalog('MirroredCatalog over a mirror without a registry behind it', async () => {
  const [mirror, origin] = [await FakeRegistry.start(), await FakeRegistry.start()];
  let pages: Pages = {};
  let failure: 'stall' | 'reset' | undefined;
  mirror.script(({ url }, response) => {
    if (failure === 'reset') response.socket?.resetAndDestroy();
    if (failure !== undefined) return true;
    const { status = 200, headers = {}, body = '' } = pages[url.replace('/v2/deckhouse/ee/', '')] ?? { status: 404 };
    response.writeHead(status, headers).end(body);
    return true;
  });
  return {
    catalog: new MirroredCatalog(makeRegistryGateway(), [mirrorOf(mirror.host, ALONE, TIMEOUTS)]),
    upstream: origin.upstream(),
    answer: (answers) => {
      pages = answers;
    },
    fail: (how) => {
      failure = how;
    },
    get listings() {
      return mirror.requests('tags/list').length;
    },
    close: async () => {
      expect(origin.log).to.deep.equal([]);
      await Promise.all([mirror.close(), origin.close()]);
    },
  };
});

describeBlobSizes('MirroredCatalog over a mirror without a registry behind it', async () => {
  const [mirror, origin] = [await FakeRegistry.start(), await FakeRegistry.start()];
  return {
    sizes: new MirroredCatalog(makeRegistryGateway(), [mirrorOf(mirror.host, ALONE)]),
    upstream: origin.upstream(),
    publish: (image) => {
      mirror.publish(image);
    },
    close: async () => {
      expect(origin.log).to.deep.equal([]);
      await Promise.all([mirror.close(), origin.close()]);
    },
  };
});

describe('MirroredCatalog', () => {
  let [mirror, second, origin]: FakeRegistry[] = [];
  const image = makePackage(10);
  const tag = 'v1' as Tag;
  beforeEach(async () => {
    [mirror, second, origin] = [await FakeRegistry.start(), await FakeRegistry.start(), await FakeRegistry.start()];
  });
  afterEach(() => Promise.all([mirror?.close(), second?.close(), origin?.close()]));

  it('asks the registry for tags if it may, because a mirror can have old tags', async () => {
    if (mirror === undefined || origin === undefined) throw new Error('not started');
    mirror.publish(image);
    origin.publish(image);
    const catalog = new MirroredCatalog(makeRegistryGateway(), [
      mirrorOf(mirror.host),
      mirrorOf(mirror.host, { of: 'another.example', fallback: false }),
    ]);
    expect(await catalog.blobSize(origin.upstream(), image.layer.descriptor.digest, never)).to.equal(10);
    expect(mirror.log).to.deep.equal([]);
  });

  it('asks mirrors in their order if the registry must not be asked, and rejects with the error of the last one', async () => {
    if (mirror === undefined || second === undefined || origin === undefined) throw new Error('not started');
    const upstream = origin.upstream();
    const catalog = new MirroredCatalog(makeRegistryGateway(), [
      mirrorOf(mirror.host, { fallback: false }),
      mirrorOf(second.host),
    ]);
    second.publish(image);
    expect(await catalog.blobSize(upstream, image.layer.descriptor.digest, never)).to.equal(10);
    second.failTimes('/manifests/', { status: 500 }, { status: 500 });
    expect(await rejection(catalog.fetchTagged(upstream, tag, never))).to.be.instanceOf(UpstreamUnavailableError);
    expect(mirror.log.map(({ url }) => url).every((url) => url.includes('?ns='))).to.equal(true);
    expect(origin.log).to.deep.equal([]);
  });
});
