/** The registry of which the examples of docs/openapi.yaml tell. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FakeRegistry } from './fake-registry.ts';

const BLOBS = join(import.meta.dirname, '../../examples/mirror/blobs/sha256');

const REFUSALS = [
  { part: '/modules/refused/', status: 403, headers: {} },
  { part: '/plugins/refused/', status: 403, headers: {} },
  { part: '/modules/broken/', status: 500, headers: {} },
  { part: '/modules/throttled/', status: 429, headers: { 'retry-after': '7' } },
];

/** The index that a tag of the command line names. */
const TAGGED = '7667d3b57c09288df02e876ae5e50c95814c1e459140f69edbda514c88477af6';

/** Has the packages of examples/mirror, and does under some paths what the examples tell of. */
export async function startExampleRegistry(): Promise<FakeRegistry> {
  const registry = await FakeRegistry.start();
  registry.script(({ url }, response) => {
    if (url.includes('/modules/silent/')) return true;
    const refusal = REFUSALS.find(({ part }) => url.includes(part));
    if (refusal !== undefined) {
      response.writeHead(refusal.status, refusal.headers).end();
      return true;
    }
    if (url.endsWith('/deckhouse-cli/tags/list')) {
      response.end(JSON.stringify({ name: 'deckhouse-cli', tags: ['v1.7.0', 'v1.7.1'] }));
      return true;
    }
    if (url.endsWith('/deckhouse-cli/manifests/v1.7.1')) {
      response.end(readFileSync(join(BLOBS, TAGGED)));
      return true;
    }
    const file = join(BLOBS, url.split('sha256:')[1] ?? '');
    if (url.includes('/modules/wrong/')) response.end('{}');
    else if (url.includes('sha256:') && existsSync(file)) response.end(readFileSync(file));
    else return false;
    return true;
  });
  return registry;
}
