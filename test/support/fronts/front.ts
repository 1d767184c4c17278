/** A real HTTP server or proxy as a process on loopback, between the service and a real registry. */
import { mkdirSync, realpathSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Program } from '../peers/binaries.ts';
import { freePort, PeerProcess } from '../peers/process.ts';
import { serverCertificate } from '../tls/certificates.ts';

/** The inputs of a configuration. */
export interface Place {
  /** Writable for every user, because a daemon that root starts changes its user. */
  readonly home: string;
  readonly port: number;
  /** The port of the registry, on 127.0.0.1. */
  readonly originPort: number;
  /** PEM files of the server certificate and its key, and of both together. */
  readonly cert: string;
  readonly key: string;
  readonly pem: string;
  /** The folder of a Debian package that holds the files of a program; '/' for a program that the system has. */
  rootOf(program: Program): string;
}

export interface FrontProcess {
  readonly program: Program;
  readonly args: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** An additional port that must listen before the next process starts. */
  readonly port?: number;
}

export interface FrontKind {
  readonly name: string;
  readonly programs: readonly Program[];
  /** Answers with Retry-After if it does not reach the registry. */
  readonly asksForPatience?: boolean;
  /** Names of files in the home, and their text. */
  configure(place: Place): Promise<{ files: Readonly<Record<string, string>>; processes: readonly FrontProcess[] }>;
}

export class Front {
  readonly #home: string;
  readonly #processes: PeerProcess[] = [];
  readonly port: number;

  private constructor(home: string, port: number) {
    this.#home = home;
    this.port = port;
  }

  static async start(
    kind: FrontKind,
    paths: Readonly<Partial<Record<Program, string>>>,
    originPort: number,
    wrap: (command: readonly string[], home: string) => readonly string[] = (command) => command,
  ): Promise<Front> {
    const home = await mkdtemp(join(tmpdir(), 'front-'));
    const front = new Front(home, await freePort());
    for (const folder of ['cache', 'log', 'run', 'tmp']) mkdirSync(join(home, folder));
    for (const folder of ['', 'cache', 'log', 'run', 'tmp']) await chmod(join(home, folder), 0o777);
    const { cert, key } = serverCertificate('localhost');
    const certificates = { 'cert.pem': cert, 'key.pem': key, 'both.pem': cert + key };
    const rootOf = (program: Program): string => rootFolder(paths[program] ?? '');
    const { files, processes } = await kind.configure({
      home,
      port: front.port,
      originPort,
      cert: join(home, 'cert.pem'),
      key: join(home, 'key.pem'),
      pem: join(home, 'both.pem'),
      rootOf,
    });
    for (const [name, text] of Object.entries({ ...certificates, ...files })) {
      await writeFile(join(home, name), text, { mode: 0o755 });
    }
    for (const { program, args, environment, port = front.port } of processes) {
      const [path = '', ...rest] = wrap([paths[program] ?? '', ...args], home);
      const variables = { LD_LIBRARY_PATH: librariesOf(rootOf(program)), HOME: home, ...environment };
      const process = new PeerProcess(path, rest, variables);
      front.#processes.push(process);
      try {
        await process.ready(() => isListening(port), 20_000);
      } catch (error) {
        await front.close();
        throw error;
      }
    }
    return front;
  }

  async close(): Promise<void> {
    // The children of varnish and squid end with them only after SIGTERM.
    for (const process of this.#processes) await process.end('SIGTERM');
    await rm(this.#home, { recursive: true, force: true });
  }
}

/** tools/peers.sh unpacks Debian's packages into one folder, the target of its links. */
function rootFolder(path: string): string {
  return realpathSync(path).replace(/\/usr\/s?bin\/[^/]+$/, '') || '/';
}

function librariesOf(root: string): string {
  const triplet = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  return [`usr/lib/${triplet}`, `lib/${triplet}`, 'usr/lib/trafficserver']
    .map((folder) => join(root, folder))
    .join(':');
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const answer = (isThere: boolean) => (): void => {
      socket.destroy();
      resolve(isThere);
    };
    socket.on('connect', answer(true)).on('error', answer(false));
  });
}
