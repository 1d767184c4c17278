/** Publishes the command line and a plugin in a registry, next to the edition of its packages. */
import { gzipSync } from 'node:zlib';
import { archiveOf } from './archive.ts';
import type { FakeRegistry, LoggedRequest } from './fake-registry.ts';
import { bytesOf, encode, makeBlob, makeImage, makeIndex, type TestImage } from './image.ts';
import { publishTags } from './published-tags.ts';

export const CLI = 'deckhouse-cli';
export const PLUGIN = `${CLI}/plugins/stronghold`;
export const PROGRAMS = { amd64: Buffer.from(bytesOf(3_000_000, 1)), arm64: Buffer.from(bytesOf(3_000_000, 2)) };

/** The archive has more bytes after the file, which no client reads. */
const imageOf = (path: string, content: Buffer): TestImage =>
  makeImage([gzipSync(archiveOf({ path, content }, { path: 'zz', content: bytesOf(2_000_000, 9) }))]);

/** Both versions of the command line are one index of two platforms; the plugin has a contract in its annotations. */
export function publishCommandLine(registry: FakeRegistry, isAllowed?: (request: LoggedRequest) => boolean): void {
  const index = makeIndex([
    { image: imageOf('d8', PROGRAMS.amd64), platform: { os: 'linux', architecture: 'amd64' } },
    { image: imageOf('d8', PROGRAMS.arm64), platform: { os: 'darwin', architecture: 'arm64' } },
  ]);
  const plugin = imageOf('plugin', PROGRAMS.amd64);
  const document = JSON.parse(Buffer.from(plugin.manifest.bytes).toString()) as object;
  const annotations = { contract: Buffer.from('{"name":"stronghold"}').toString('base64') };
  const manifest = makeBlob(plugin.manifest.descriptor.mediaType, encode({ ...document, annotations }));
  const published = { ...plugin, digest: manifest.descriptor.digest, manifest };
  const plugins = makeIndex([{ image: published, platform: { os: 'linux', architecture: 'amd64' } }]);
  registry.publish(index, published, plugins);
  const tagged = {
    [`deckhouse/${CLI}:v1.0.0`]: index.index.bytes,
    [`deckhouse/${CLI}:v1.1.0`]: index.index.bytes,
    [`deckhouse/${PLUGIN}:v0.1.0`]: plugins.index.bytes,
  };
  publishTags(registry, tagged, isAllowed);
}
