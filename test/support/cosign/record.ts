/** `node test/support/cosign/record.ts`: signs the images of the cases by the real cosign in a real registry, and records the documents of the registry. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import got from 'got';
import { INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES } from '../../../src/domain/descriptor.ts';
import { findProgram, type Program } from '../peers/binaries.ts';
import { PeerRegistry } from '../peers/peer-registry.ts';
import { Cosign, COSIGN_CASES, imageOf, signedIndex } from './cases.ts';
import type { Recording } from './recording.ts';

function programOf(name: Program): string {
  const path = findProgram(name);
  if (path === undefined) throw new Error(`${name} is missing: tools/peers.sh --long installs it`);
  return path;
}

const accept = [...MANIFEST_MEDIA_TYPES, ...INDEX_MEDIA_TYPES].join(', ');

/** The manifests and blobs under a path, by their paths. */
async function follow(origin: string, path: string, documents: Record<string, string>): Promise<void> {
  const { statusCode, body } = await got(`${origin}/${path}`, { headers: { accept }, throwHttpErrors: false });
  if (statusCode !== 200 || path in documents) return;
  documents[path] = body;
  if (path.startsWith('blobs/')) return;
  const { manifests = [], layers = [] } = JSON.parse(body) as Record<string, { digest: string }[] | undefined>;
  for (const { digest } of manifests) await follow(origin, `manifests/${digest}`, documents);
  for (const { digest } of layers) await follow(origin, `blobs/${digest}`, documents);
}

const home = await mkdtemp(join(tmpdir(), 'cosign-'));
const program = 'distribution-registry';
const registry = await PeerRegistry.start({ program, path: programOf(program) });
try {
  const cosign = await Cosign.open({ 2: programOf('cosign-2'), 3: programOf('cosign-3') }, home);
  const documents: Record<string, string> = {};
  const sign = async (of: (typeof COSIGN_CASES)[number], digest: string): Promise<void> => {
    await cosign.sign(of, `${registry.repo}@${digest}`);
    const origin = `http://${registry.host}/v2/deckhouse/ee`;
    for (const suffix of ['', '.sig'])
      await follow(origin, `manifests/${digest.replace(':', '-')}${suffix}`, documents);
  };
  for (const [place, of] of COSIGN_CASES.entries()) {
    const image = imageOf(place);
    await registry.publish(image);
    await sign(of, image.digest);
  }
  const index = signedIndex();
  for (const image of index.images) await registry.publish(image);
  await registry.publish({ digest: index.digest, manifest: index.index, blobs: [], layer: index.index });
  const [first] = COSIGN_CASES;
  if (first !== undefined) await sign(first, index.digest);
  const recording: Recording = { publicKey: await readFile(cosign.publicKey, 'utf8'), documents };
  await writeFile(join(import.meta.dirname, 'signatures.json'), `${JSON.stringify(recording, undefined, 2)}\n`);
} finally {
  await registry.close();
  await rm(home, { recursive: true });
}
