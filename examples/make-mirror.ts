/** Makes examples/mirror: an OCI image layout with two packages. Each run makes the same bytes. */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const OCI = 'application/vnd.oci.image';

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** Returns the files of the mirror by their path. */
export function makeMirror(): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  const add = (mediaType: string, bytes: Buffer): Descriptor => {
    const hex = createHash('sha256').update(bytes).digest('hex');
    files.set(`blobs/sha256/${hex}`, bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.byteLength };
  };
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

  const image = (architecture: string, install: string): Descriptor => {
    const layer = gzipSync(tar({ install, README: 'A package of the example mirror.\n' }), { level: 0 });
    // No compression, and "unknown" as the operating system (the tenth byte), so that each version of zlib makes the same bytes.
    layer[9] = 0xff;
    const config = add(
      `${OCI}.config.v1+json`,
      json({ architecture, os: 'linux', rootfs: { type: 'layers', diff_ids: [] } }),
    );
    const mediaType = `${OCI}.manifest.v1+json`;
    const layers = [add(`${OCI}.layer.v1.tar+gzip`, layer)];
    return add(mediaType, json({ schemaVersion: 2, mediaType, config, layers }));
  };
  const named = (descriptor: Descriptor, name: string) => ({
    ...descriptor,
    annotations: { 'org.opencontainers.image.ref.name': name },
  });

  const jq = image('amd64', '#!/bin/sh\necho "installing jq"\n');
  const mediaType = `${OCI}.index.v1+json`;
  const containerd = add(
    mediaType,
    json({
      schemaVersion: 2,
      mediaType,
      manifests: ['amd64', 'arm64'].map((architecture) => ({
        ...image(architecture, `#!/bin/sh\necho "installing containerd for ${architecture}"\n`),
        platform: { os: 'linux', architecture },
      })),
    }),
  );
  files.set('oci-layout', json({ imageLayoutVersion: '1.0.0' }));
  files.set(
    'index.json',
    json({ schemaVersion: 2, mediaType, manifests: [named(jq, 'jq:1.7.1'), named(containerd, 'containerd:1.7.27')] }),
  );
  return files;
}

/** Returns a ustar archive (POSIX.1-1988) of executable files of root, with the epoch as their time. */
function tar(contents: Readonly<Record<string, string>>): Buffer {
  const blocks = Object.entries(contents).flatMap(([name, text]) => {
    const body = Buffer.from(text);
    const header = Buffer.alloc(512);
    const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, '0')}\0`;
    header.write(name, 0);
    header.write(octal(0o755, 7) + octal(0, 7) + octal(0, 7) + octal(body.byteLength, 11) + octal(0, 11), 100);
    header.write('        0', 148);
    header.write('ustar\x0000', 257);
    const checksum = header.reduce((sum, byte) => sum + byte, 0);
    header.write(`${checksum.toString(8).padStart(6, '0')}\0 `, 148);
    return [header, body, Buffer.alloc((512 - (body.byteLength % 512)) % 512)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

if (import.meta.main) {
  for (const [path, bytes] of makeMirror()) {
    const target = join(import.meta.dirname, 'mirror', path);
    mkdirSync(join(target, '..'), { recursive: true });
    writeFileSync(target, bytes);
  }
}
