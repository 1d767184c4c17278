/** Gitea with HTTPS: its packages are a registry with a token server. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import got, { type Got } from 'got';
import { parseUpstream, type Upstream } from '../../../src/domain/upstream.ts';
import { PASSWORD } from '../fake-registry.ts';
import type { TestImage } from '../image.ts';
import { CA, serverCertificate } from '../tls/certificates.ts';
import { freePort, PeerProcess } from './process.ts';
import { pushImage } from './push-image.ts';

/** The owner of packages is the first component of their name. */
const OWNER = 'deckhouse';
const REPOSITORY = `${OWNER}/ee`;

export interface GiteaOptions {
  readonly path: string;
  /** The address for clients, which is also in the realm of its token server. */
  readonly host?: string;
}

export class Gitea {
  readonly #home: string;
  readonly #process: PeerProcess;
  readonly port: number;
  readonly #host: string;

  private constructor(home: string, process: PeerProcess, port: number, host: string) {
    this.#home = home;
    this.#process = process;
    this.port = port;
    this.#host = host;
  }

  static async start({ path, host: named }: GiteaOptions): Promise<Gitea> {
    const home = await mkdtemp(join(tmpdir(), 'gitea-'));
    const port = await freePort();
    const host = named ?? `127.0.0.1:${String(port)}`;
    const configuration = join(home, 'app.ini');
    const { cert, key } = serverCertificate('localhost');
    await writeFile(join(home, 'cert.pem'), cert);
    await writeFile(join(home, 'key.pem'), key);
    await writeFile(configuration, settings(home, port, host, join(dirname(path), '../gitea')));
    const run = promisify(execFile);
    const flags = ['--config', configuration, '--work-path', home];
    await run(path, ['migrate', ...flags]);
    const user = ['--username', OWNER, '--password', PASSWORD, '--email', 'deckhouse@registry.test'];
    await run(path, ['admin', 'user', 'create', ...user, '--must-change-password=false', ...flags]);
    const process = new PeerProcess(path, ['web', ...flags]);
    const gitea = new Gitea(home, process, port, host);
    await process.ready(async () => (await gitea.#client('v2/', { throwHttpErrors: false })).statusCode === 200);
    return gitea;
  }

  get credentials(): { readonly username: string; readonly password: string } {
    return { username: OWNER, password: PASSWORD };
  }

  upstream(): Upstream {
    const auths = { [this.#host]: this.credentials };
    return parseUpstream({
      repo: `${this.#host}/${REPOSITORY}`,
      scheme: 'HTTPS',
      dockerCfg: Buffer.from(JSON.stringify({ auths })).toString('base64'),
      ca: CA,
    });
  }

  publish(image: TestImage): Promise<void> {
    return pushImage(this.#client, REPOSITORY, image);
  }

  async close(): Promise<void> {
    await this.#process.end();
    await rm(this.#home, { recursive: true });
  }

  get #client(): Got {
    return got.extend({
      prefixUrl: `https://127.0.0.1:${String(this.port)}`,
      retry: { limit: 0 },
      https: { certificateAuthority: CA },
      ...this.credentials,
    });
  }
}

/** `files` is the folder of its templates and texts. */
function settings(home: string, port: number, host: string, files: string): string {
  return `
RUN_USER = ${userInfo().username}
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
WORK_PATH = ${home}
[server]
PROTOCOL = https
CERT_FILE = ${join(home, 'cert.pem')}
KEY_FILE = ${join(home, 'key.pem')}
HTTP_ADDR = 127.0.0.1
HTTP_PORT = ${String(port)}
ROOT_URL = https://${host}/
STATIC_ROOT_PATH = ${files}
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = ${join(home, 'gitea.db')}
[security]
INSTALL_LOCK = true
[log]
MODE = console
LEVEL = Error
[repository]
ROOT = ${join(home, 'repositories')}
`;
}
