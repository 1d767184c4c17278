/** A real registry as a process on loopback, which tests fill by its API. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import got, { type Got } from 'got';
import { stringify } from 'yaml';
import { parseUpstream, type Upstream } from '../../../src/domain/upstream.ts';
import { BASIC, PASSWORD, USERNAME } from '../fake-registry.ts';
import type { TestImage } from '../image.ts';
import { CA, serverCertificate } from '../tls/certificates.ts';
import type { Program } from './binaries.ts';
import { pushImage } from './push-image.ts';

export interface PeerOptions {
  readonly program: Program;
  readonly path: string;
  /** With USERNAME and PASSWORD. */
  readonly basicAuth?: boolean;
  readonly tls?: boolean | { readonly cert: string; readonly key: string };
  /** Instead of a free port. */
  readonly port?: number;
}

export interface AccessLogEntry {
  readonly method: string;
  readonly url: string;
  readonly status: number;
}

const REPOSITORY = 'deckhouse/ee';
/** bcrypt of PASSWORD. */
const HTPASSWD = `${USERNAME}:$2b$05$itPwlp4NqkriiEaP8LZIAucQrNWExSj69uCyFpuGlBYOn.NqXIWUW\n`;

export class PeerRegistry {
  readonly #options: PeerOptions;
  readonly #home: string;
  readonly #child: ChildProcess;
  #output = '';
  #port = 0;

  private constructor(options: PeerOptions, home: string, child: ChildProcess) {
    this.#options = options;
    this.#home = home;
    this.#child = child;
  }

  static async start(options: PeerOptions): Promise<PeerRegistry> {
    const home = await mkdtemp(join(tmpdir(), 'peer-'));
    const child = spawn(options.path, await argumentsOf(options, home), { stdio: ['ignore', 'pipe', 'pipe'] });
    const peer = new PeerRegistry(options, home, child);
    await peer.#listening();
    return peer;
  }

  get host(): string {
    return `127.0.0.1:${String(this.#port)}`;
  }

  get repo(): string {
    return `${this.host}/${REPOSITORY}`;
  }

  upstream(): Upstream {
    const auths = this.#options.basicAuth === true ? { [this.host]: { username: USERNAME, password: PASSWORD } } : {};
    return parseUpstream({
      repo: this.repo,
      scheme: isSecure(this.#options) ? 'HTTPS' : 'HTTP',
      dockerCfg: Buffer.from(JSON.stringify({ auths })).toString('base64'),
      ca: isSecure(this.#options) ? CA : '',
    });
  }

  publish(image: TestImage): Promise<void> {
    return pushImage(this.#client, REPOSITORY, image);
  }

  /** The request log of a registry of the distribution family. */
  get accessLog(): AccessLogEntry[] {
    return [...this.#output.matchAll(/"(GET|HEAD|PUT|POST) (\S+) HTTP\/1\.1" (\d{3})/g)].map(
      ([, method = '', url = '', status = '']) => ({ method, url, status: Number(status) }),
    );
  }

  async close(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
    await rm(this.#home, { recursive: true });
  }

  get #client(): Got {
    const { basicAuth } = this.#options;
    return got.extend({
      prefixUrl: `${isSecure(this.#options) ? 'https' : 'http'}://${this.host}`,
      retry: { limit: 0 },
      https: { certificateAuthority: CA },
      ...(basicAuth === true && { headers: { authorization: BASIC } }),
    });
  }

  async #listening(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const listen = (chunk: Buffer): void => {
        this.#output += chunk.toString();
        const port = /(?:listening on 127\.0\.0\.1:|serving on port )(\d+)/.exec(this.#output)?.[1];
        if (port === undefined || this.#port !== 0) return;
        this.#port = Number(port);
        resolve();
      };
      this.#child.stdout?.on('data', listen);
      this.#child.stderr?.on('data', listen);
      this.#child.once('error', reject);
      this.#child.once('exit', (code) => {
        reject(new Error(`${this.#options.program} ended with ${String(code)}: ${this.#output}`));
      });
    });
  }
}

const isSecure = ({ tls = false }: PeerOptions): boolean => tls !== false;

async function argumentsOf(options: PeerOptions, home: string): Promise<string[]> {
  const { program, basicAuth, tls, port = 0 } = options;
  if (program === 'ocimem') return [];
  if (program === 'crane') return ['registry', 'serve', '--address', '127.0.0.1:0'];
  const files = { htpasswd: HTPASSWD, ...(typeof tls === 'object' ? tls : serverCertificate('localhost')) };
  for (const [name, text] of Object.entries(files)) await writeFile(join(home, name), text);
  const configuration = {
    version: 0.1,
    log: { level: 'info' },
    storage: { filesystem: { rootdirectory: join(home, 'data') } },
    http: {
      addr: `127.0.0.1:${String(port)}`,
      secret: 'of a test',
      ...(isSecure(options) && { tls: { certificate: join(home, 'cert'), key: join(home, 'key') } }),
    },
    ...(basicAuth === true && { auth: { htpasswd: { realm: 'test', path: join(home, 'htpasswd') } } }),
  };
  await writeFile(join(home, 'config.yml'), stringify(configuration));
  return ['serve', join(home, 'config.yml')];
}
