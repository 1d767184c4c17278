/** The registry of which the examples of docs/openapi.yaml tell. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FakeRegistry } from './fake-registry.ts';

const BLOBS = join(import.meta.dirname, '../../examples/mirror/blobs/sha256');

/** Has the packages of examples/mirror, and does under some paths what the examples tell of. */
export async function startExampleRegistry(): Promise<FakeRegistry> {
  const registry = await FakeRegistry.start();
  registry.failTimes('/modules/refused/', { status: 403 });
  registry.failTimes('/modules/broken/', { status: 500 });
  registry.failTimes('/modules/throttled/', { status: 429, headers: { 'retry-after': '7' } });
  registry.script(({ url }, response) => {
    if (url.includes('/modules/silent/')) return true;
    const file = join(BLOBS, url.split('sha256:')[1] ?? '');
    if (url.includes('/modules/wrong/')) response.end('{}');
    else if (url.includes('sha256:') && existsSync(file)) response.end(readFileSync(file));
    else return false;
    return true;
  });
  return registry;
}
