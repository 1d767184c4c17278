/** Runs the credential plugin of a kubeconfig (client-go credential plugins, `client.authentication.k8s.io`). */
import { spawn } from 'node:child_process';
import { errnoOf } from '../../domain/errors.ts';
import { asObject } from '../../domain/descriptor.ts';

/** The `exec` section of a user in the kubeconfig, with an absolute path or a name from PATH. */
export interface ExecPluginOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** After this time a plugin is killed, for example one that waits for a browser or a dead token server. */
  readonly timeoutMs?: number;
}

interface ExecCredential {
  readonly token: string | undefined;
  readonly clientCertificate: string | undefined;
  readonly clientKey: string | undefined;
}

const TIMEOUT_MS = 15_000;
const MAX_OUTPUT_BYTES = 1024 * 1024;

/** The plugin returned no usable credential. The message does not contain its output, which may contain a secret. */
export class ExecPluginError extends Error {
  override readonly name = 'ExecPluginError';
}

export class ExecPlugin {
  readonly #options: ExecPluginOptions;
  #cached: { readonly credential: ExecCredential; readonly usableUntil: number } | undefined;
  #running: Promise<ExecCredential> | undefined;

  constructor(options: ExecPluginOptions) {
    this.#options = options;
  }

  /** Resolves with the cached credential, or with a new one after its expiry on the monotonic clock. @throws ExecPluginError */
  async credential(): Promise<ExecCredential> {
    if (this.#cached !== undefined && performance.now() < this.#cached.usableUntil) return this.#cached.credential;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Call this after a 401 of the API server: the next request runs the plugin again. */
  refused(): void {
    this.#cached = undefined;
  }

  async #run(): Promise<ExecCredential> {
    const output = await outputOf(this.#options);
    try {
      const status = asObject(asObject(JSON.parse(output), 'credential')['status'], 'status');
      const text = (name: string): string | undefined =>
        typeof status[name] === 'string' && status[name] !== '' ? status[name] : undefined;
      const credential = {
        token: text('token'),
        clientCertificate: text('clientCertificateData'),
        clientKey: text('clientKeyData'),
      };
      // The wall clock is read only once, so that a clock that is set back later does not prolong the credential.
      const expiresAt = Date.parse(text('expirationTimestamp') ?? '');
      const lifetimeMs = Number.isNaN(expiresAt) ? Infinity : expiresAt - Date.now();
      this.#cached = { credential, usableUntil: performance.now() + lifetimeMs };
      return credential;
    } catch {
      throw this.#error('printed no ExecCredential');
    }
  }

  #error(what: string): ExecPluginError {
    return new ExecPluginError(`credential plugin "${this.#options.command}" ${what}`);
  }
}

/** Resolves with the standard output. Standard error is discarded, because plugins write tokens and user names to it. */
function outputOf({ command, args, environment, timeoutMs = TIMEOUT_MS }: ExecPluginOptions): Promise<string> {
  const failed = (what: string): ExecPluginError => new ExecPluginError(`credential plugin "${command}" ${what}`);
  return new Promise((resolve, reject) => {
    // In its own process group, so that a time-out also ends the processes that the plugin has started.
    const plugin = spawn(command, args, {
      env: { ...environment },
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true,
    });
    let output = '';
    const kill = (error: ExecPluginError): void => {
      reject(error);
      plugin.stdout.destroy();
      try {
        if (plugin.pid !== undefined) process.kill(-plugin.pid, 'SIGKILL');
      } catch {
        // The group has ended already.
      }
    };
    const deadline = setTimeout(() => {
      kill(failed(`did not answer within ${String(timeoutMs / 1000)} s`));
    }, timeoutMs);
    plugin.unref();
    deadline.unref();
    plugin.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (output.length > MAX_OUTPUT_BYTES) kill(failed('printed more than 1 MiB'));
    });
    plugin.on('error', (error) => {
      clearTimeout(deadline);
      reject(failed(`could not be started: ${errnoOf(error) ?? error.name}`));
    });
    plugin.on('close', (code, signal) => {
      clearTimeout(deadline);
      if (code === 0) resolve(output);
      else reject(failed(`ended with ${code === null ? String(signal) : `exit code ${String(code)}`}`));
    });
  });
}
