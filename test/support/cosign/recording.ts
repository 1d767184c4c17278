/** What the real cosign has left in a registry, as `record.ts` wrote it down. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FakeRegistry } from '../fake-registry.ts';

export interface Recording {
  /** PEM. */
  readonly publicKey: string;
  /** Manifests and blobs by their path below the repository. */
  readonly documents: Readonly<Record<string, string>>;
}

export const RECORDING = JSON.parse(readFileSync(join(import.meta.dirname, 'signatures.json'), 'utf8')) as Recording;

/** Lets the registry have all of it. */
export function replay(registry: FakeRegistry): void {
  registry.script(({ url }, response) => {
    const document = RECORDING.documents[/\/((?:manifests|blobs)\/[^/?]+)$/.exec(url)?.[1] ?? ''];
    if (document === undefined) return false;
    response.writeHead(200, { 'content-length': Buffer.byteLength(document) }).end(document);
    return true;
  });
}
