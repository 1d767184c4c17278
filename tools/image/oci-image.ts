/** Writes an OCI image layout from directories; the same files give the same bytes. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';

const OCI = 'application/vnd.oci.image';

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

interface Layer {
  readonly descriptor: Descriptor;
  /** The digest of the archive before compression. */
  readonly diffId: string;
}

/** The `config` part of an image configuration, with the field names of OCI. */
export interface RunConfiguration {
  readonly User: string;
  readonly Entrypoint: readonly string[];
  readonly Env: readonly string[];
  readonly Labels: Readonly<Record<string, string>>;
}

export interface OciImage {
  /** The paths of each layer below `root`. */
  readonly layers: readonly (readonly string[])[];
  readonly root: string;
  readonly config: RunConfiguration;
  readonly secondsSinceEpoch: number;
  readonly name: string;
}

/** Writes the layout and resolves with the digest of the image's manifest. */
export async function writeOciImage(directory: string, image: OciImage): Promise<string> {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(join(directory, 'blobs/sha256'), { recursive: true });
  const layers: Layer[] = [];
  for (const paths of image.layers) layers.push(await writeLayer(directory, paths, image));
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const config = writeJson(directory, `${OCI}.config.v1+json`, {
    created: new Date(image.secondsSinceEpoch * 1000).toISOString(),
    architecture,
    os: 'linux',
    config: image.config,
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
  });
  const mediaType = `${OCI}.manifest.v1+json`;
  const descriptors = layers.map(({ descriptor }) => descriptor);
  const manifest = writeJson(directory, mediaType, { schemaVersion: 2, mediaType, config, layers: descriptors });
  const named = {
    ...manifest,
    platform: { os: 'linux', architecture },
    annotations: { 'org.opencontainers.image.ref.name': image.name },
  };
  const index = { schemaVersion: 2, mediaType: `${OCI}.index.v1+json`, manifests: [named] };
  writeFileSync(join(directory, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  writeFileSync(join(directory, 'index.json'), JSON.stringify(index));
  return manifest.digest;
}

/** Returns all paths below a directory, each directory before its entries. */
export function listPaths(root: string): string[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' }).sort();
}

async function writeLayer(directory: string, paths: readonly string[], image: OciImage): Promise<Layer> {
  const owner = ['--owner=0', '--group=0', '--numeric-owner', `--mtime=@${String(image.secondsSinceEpoch)}`];
  const list = ['--no-recursion', '--verbatim-files-from', '--files-from=-'];
  // The GNU format stores only the modification time.
  const tar = spawn('tar', ['--create', '--format=gnu', ...owner, ...list], {
    cwd: image.root,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  tar.stdin.end(paths.join('\n'));
  const exited = once(tar, 'exit');
  const archive = createHash('sha256');
  const compressed = createHash('sha256');
  const temporary = join(directory, 'layer');
  await pipeline(tar.stdout, hashing(archive), createGzip(), hashing(compressed), createWriteStream(temporary));
  const [code] = (await exited) as [number | null];
  if (code !== 0) throw new Error(`tar ended with ${String(code)}`);
  const hex = compressed.digest('hex');
  const { size } = statSync(temporary);
  renameSync(temporary, join(directory, 'blobs/sha256', hex));
  return {
    descriptor: { mediaType: `${OCI}.layer.v1.tar+gzip`, digest: `sha256:${hex}`, size },
    diffId: `sha256:${archive.digest('hex')}`,
  };
}

function hashing(hash: ReturnType<typeof createHash>): PassThrough {
  return new PassThrough().on('data', (chunk: Buffer) => hash.update(chunk));
}

function writeJson(directory: string, mediaType: string, value: unknown): Descriptor {
  const bytes = Buffer.from(JSON.stringify(value));
  const hex = createHash('sha256').update(bytes).digest('hex');
  writeFileSync(join(directory, 'blobs/sha256', hex), bytes);
  return { mediaType, digest: `sha256:${hex}`, size: bytes.byteLength };
}
