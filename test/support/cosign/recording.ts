/** The documents of the real cosign in a registry, as `record.ts` has recorded them. */
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

/** Publishes all recorded documents in the registry. */
export function replay(registry: FakeRegistry): void {
  registry.script(({ url }, response) => {
    const document = RECORDING.documents[/\/((?:manifests|blobs)\/[^/?]+)$/.exec(url)?.[1] ?? ''];
    if (document === undefined) return false;
    response.writeHead(200, { 'content-length': Buffer.byteLength(document) }).end(document);
    return true;
  });
}
