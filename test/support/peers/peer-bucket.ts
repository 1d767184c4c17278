/** A real S3 server as a process on loopback with one empty bucket. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Digest, digestHex } from '../../../src/domain/descriptor.ts';
import type { S3Bucket } from '../../../src/adapters/s3/s3-bucket.ts';
import { ACCESS_KEY, BUCKET } from '../fake-bucket.ts';
import { once } from '../../../src/application/resumed-download.ts';
import type { TestImage } from '../image.ts';
import { keysOf, makeBucket } from '../s3-gateway.ts';
import { freePort, PeerProcess } from './process.ts';
import type { Program } from './binaries.ts';

/** Without characters that a command line or a configuration would need to escape. */
const SECRET = 'canary-secret-of-the-peer';

/** For each wait for a server. */
export const PATIENCE_MS = 20_000;

interface Started {
  readonly args: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** The signal after which it leaves no files outside its directory. */
  readonly end?: NodeJS.Signals;
}

/** The commands of each server from its documentation, for the directory `data`, which contains the bucket as a directory. */
const SERVERS = {
  versitygw: (data: string, port: number): Started => ({
    args: ['--access', ACCESS_KEY, '--secret', SECRET, '--port', `127.0.0.1:${String(port)}`, 'posix', data],
  }),
  's3s-fs': (data, port) => ({
    args: ['--access-key', ACCESS_KEY, '--secret-key', SECRET, '--host', '127.0.0.1', '--port', String(port), data],
  }),
  rclone: (data, port) => ({
    args: ['serve', 's3', '--addr', `127.0.0.1:${String(port)}`, '--auth-key', `${ACCESS_KEY},${SECRET}`, data],
  }),
  // Its other parts use free ports, and sockets in /tmp.
  seaweedfs: (data, port) => ({
    args: [
      ...[
        '-logtostderr=true',
        'mini',
        `-dir=${data}`,
        '-ip=127.0.0.1',
        '-ip.bind=127.0.0.1',
        `-s3.port=${String(port)}`,
        `-bucket=${BUCKET}`,
      ],
      ...['-s3.autoCreateBucket=false', '-webdav=false', '-admin.ui=false', '-master.telemetry=false'],
    ],
    environment: { AWS_ACCESS_KEY_ID: ACCESS_KEY, AWS_SECRET_ACCESS_KEY: SECRET },
    end: 'SIGTERM',
  }),
} satisfies Partial<Record<Program, (data: string, port: number) => Started>>;

export type BucketProgram = keyof typeof SERVERS;

export class PeerBucket {
  readonly #program: BucketProgram;
  readonly #path: string;
  readonly #home: string;
  readonly #port: number;
  #process: PeerProcess;

  private constructor(program: BucketProgram, path: string, home: string, port: number) {
    this.#program = program;
    this.#path = path;
    this.#home = home;
    this.#port = port;
    this.#process = this.#spawn();
  }

  static async start(program: BucketProgram, path: string): Promise<PeerBucket> {
    const home = await mkdtemp(join(tmpdir(), 'peer-bucket-'));
    await mkdir(join(home, 'data', BUCKET), { recursive: true });
    const peer = new PeerBucket(program, path, home, await freePort());
    await peer.ready();
    return peer;
  }

  get endpoint(): URL {
    return new URL(`http://127.0.0.1:${String(this.#port)}`);
  }

  /** The directory of the server, in which the bucket is a directory and each key a path below it. */
  get data(): string {
    return join(this.#home, 'data');
  }

  /** The directory of a mounted Secret with its keys. */
  async keys(): Promise<string> {
    const directory = join(this.#home, 'keys');
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, 'accessKeyID'), ACCESS_KEY);
    await writeFile(join(directory, 'secretAccessKey'), SECRET);
    return directory;
  }

  bucket(overrides: Partial<Parameters<typeof makeBucket>[0]> = {}): S3Bucket {
    // A real server on a machine under load may take seconds for 16 MB.
    const patience = { patienceMs: PATIENCE_MS };
    return makeBucket({ endpoint: this.endpoint, keys: keysOf(ACCESS_KEY, SECRET), ...patience, ...overrides });
  }

  /** Resolves when the bucket exists. */
  ready(): Promise<void> {
    const bucket = this.bucket();
    return this.#process.ready(async () => {
      await bucket.check(AbortSignal.timeout(1000));
      return true;
    });
  }

  put(digest: Digest, bytes: Uint8Array): Promise<void> {
    return this.bucket().put(
      digest,
      { size: bytes.byteLength, open: () => once(bytes) },
      AbortSignal.timeout(PATIENCE_MS),
    );
  }

  async publish({ digest, manifest, blobs }: TestImage): Promise<void> {
    await this.put(digest, manifest.bytes);
    for (const { descriptor, bytes } of blobs) await this.put(descriptor.digest, bytes);
  }

  /** The file in which the server stores an object. */
  fileOf(digest: Digest): string {
    return this.fileOfHex(digestHex(digest));
  }

  fileOfHex(hex: string): string {
    return join(this.data, BUCKET, 'blobs/sha256', hex);
  }

  read(digest: Digest): Promise<Buffer> {
    return readFile(this.fileOf(digest));
  }

  /** Kills the server as a power cut does, and keeps its files. */
  kill(): Promise<void> {
    return this.#process.end();
  }

  async restart(): Promise<void> {
    this.#process = this.#spawn();
    await this.ready();
  }

  async close(): Promise<void> {
    await this.#process.end(this.#started.end);
    await rm(this.#home, { recursive: true });
  }

  #spawn(): PeerProcess {
    const { args, environment } = this.#started;
    return new PeerProcess(this.#path, args, environment);
  }

  get #started(): Started {
    return SERVERS[this.#program](this.data, this.#port);
  }
}
