import { FakeRegistry } from '../support/fake-registry.ts';
import { makeRegistryGateway } from '../support/registry-gateway.ts';
import { describeImageCatalog, type Pages } from './image-catalog.ts';

describeImageCatalog('OciRegistryGateway', async () => {
  const registry = await FakeRegistry.start({ auth: 'bearer' });
  let pages: Pages = {};
  let failure: 'stall' | 'reset' | undefined;
  registry.script(({ url, headers }, response) => {
    if (headers.authorization === undefined || url.startsWith('/token')) return false;
    if (failure === 'reset') response.socket?.resetAndDestroy();
    if (failure !== undefined) return true;
    const {
      status = 200,
      headers: own = {},
      body = '',
    } = pages[url.replace('/v2/deckhouse/ee/', '')] ?? { status: 404 };
    response.writeHead(status, own).end(body);
    return true;
  });
  return {
    catalog: makeRegistryGateway({ headersTimeoutMs: 200, idleTimeoutMs: 1000, retryTimeoutMs: 400 }),
    upstream: registry.upstream(),
    answer: (answers) => {
      pages = answers;
    },
    fail: (how) => {
      failure = how;
    },
    get listings() {
      return registry.requests('tags/list').filter(({ headers }) => headers.authorization !== undefined).length;
    },
    close: () => registry.close(),
  };
});
