/** The files of the loopback's TLS, read again while the service runs, and the log of those who were refused. */
import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import type { MutualTls, Refusal, TlsFiles } from '../adapters/http/server/mutual-tls.ts';
import type { Component } from './lifecycle.ts';
import type { Settings } from './settings.ts';

/** How soon a change is seen. Files are read instead of watched: a Secret changes by a symbolic link two folders above. */
const INTERVAL_MS = 5000;
const QUIET_MS = 60_000;

type Paths = Settings['server']['tls'];

export function readTlsFiles({ certificate, key, clientCA }: Paths): TlsFiles {
  const read = (path: string): string => readFileSync(path, 'utf8');
  return { certificate: read(certificate), key: read(key), clientCa: read(clientCA) };
}

export class FollowedTls implements Component {
  readonly #paths: Paths;
  readonly #tls: MutualTls;
  readonly #logger: Logger;
  /** What was read last, or why it could not be: each change is tried and logged once. */
  #seen: string;
  #timer: NodeJS.Timeout | undefined;

  constructor(paths: Paths, initial: TlsFiles, tls: MutualTls, logger: Logger) {
    this.#paths = paths;
    this.#seen = JSON.stringify(initial);
    this.#tls = tls;
    this.#logger = logger;
  }

  start(): Promise<void> {
    this.#timer = setInterval(() => {
      this.#look();
    }, INTERVAL_MS);
    return Promise.resolve();
  }

  stop(): Promise<void> {
    clearInterval(this.#timer);
    return Promise.resolve();
  }

  #look(): void {
    const files = this.#changed();
    if (files === undefined) return;
    try {
      this.#tls.use(files);
      this.#logger.info('certificates of the loopback port read again');
    } catch (err) {
      this.#complain(err);
    }
  }

  #changed(): TlsFiles | undefined {
    let files: TlsFiles;
    try {
      files = readTlsFiles(this.#paths);
    } catch (err) {
      if (this.#isNew(String(err))) this.#complain(err);
      return undefined;
    }
    return this.#isNew(JSON.stringify(files)) ? files : undefined;
  }

  #isNew(seen: string): boolean {
    const isNew = seen !== this.#seen;
    this.#seen = seen;
    return isNew;
  }

  #complain(err: unknown): void {
    this.#logger.warn({ err }, 'certificates of the loopback port cannot be used, keeping the previous ones');
  }
}

/** One line at the first refusal, and one for each minute that has more. */
export function refusalLog(logger: Logger): (refusal: Refusal) => void {
  let refused: Partial<Record<Refusal, number>> = {};
  let timer: NodeJS.Timeout | undefined;
  const write = (): void => {
    timer = undefined;
    if (Object.keys(refused).length === 0) return;
    logger.warn({ refused }, 'clients of the loopback port refused');
    refused = {};
    timer = setTimeout(write, QUIET_MS).unref();
  };
  return (refusal) => {
    refused[refusal] = (refused[refusal] ?? 0) + 1;
    if (timer === undefined) write();
  };
}
