/** The registry of the examples in docs/openapi.yaml. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { archiveOf } from './archive.ts';
import { FakeRegistry } from './fake-registry.ts';
import { makeImage, type TestImage } from './image.ts';
import { publishTags } from './published-tags.ts';

const BLOBS = join(import.meta.dirname, '../../examples/mirror/blobs/sha256');

const REFUSALS = [
  { part: '/modules/refused/', status: 403, headers: {} },
  { part: '/plugins/refused/', status: 403, headers: {} },
  { part: '/modules/broken/', status: 500, headers: {} },
  { part: '/packages/refused/', status: 403, headers: {} },
  { part: '/modules/throttled/', status: 429, headers: { 'retry-after': '7' } },
];

/** The index that a tag of the command line names. */
const TAGGED = '7667d3b57c09288df02e876ae5e50c95814c1e459140f69edbda514c88477af6';

const imageOf = (path: string, content: string): TestImage => makeImage([gzipSync(archiveOf({ path, content }))]);

/** Has the packages of examples/mirror and of a PackageRepository, and the faults of the examples at some paths. */
export async function startExampleRegistry(): Promise<FakeRegistry> {
  const registry = await FakeRegistry.start();
  registry.script(({ url }, response) => {
    if (url.includes('/silent/')) return true;
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
    if (url.includes('/modules/wrong/')) response.end('{"schemaVersion":2}');
    else if (url.includes('sha256:') && existsSync(file)) response.end(readFileSync(file));
    else return false;
    return true;
  });
  const icon = imageOf('docs/icon.svg', '<svg xmlns="http://www.w3.org/2000/svg"/>');
  const [bare, forged] = [imageOf('version.json', '{}'), imageOf('docs/icon.svg', '<svg/>')];
  registry.publish(icon, bare);
  registry.script(({ url }, response) => {
    if (!url.endsWith(forged.layer.descriptor.digest)) return false;
    response.end('forged');
    return true;
  });
  publishTags(registry, {
    'packages/console/version:v1.0.0': icon.manifest.bytes,
    'packages/bare/version:v1.0.0': bare.manifest.bytes,
    'packages/unversioned/version:latest': bare.manifest.bytes,
    'packages/forged/version:v1.0.0': forged.manifest.bytes,
  });
  return registry;
}
