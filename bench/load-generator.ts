/** The clients: bench/load, a process of its own per measurement. */
import { execFile } from 'node:child_process';

export interface LoadOptions {
  readonly urls: readonly string[];
  /** Instead of `urls` and `requests`: those of each client, in its order. */
  readonly plan?: readonly (readonly string[])[];
  readonly clients: number;
  /** The requests of all clients together. */
  readonly requests?: number;
  /** No request begins later than this. */
  readonly seconds?: number;
  /** A longer run is cut off, which is no failure. */
  readonly cutOffSeconds?: number;
  /** Each client reads no faster. */
  readonly bytesPerSecond?: number;
  /** In hex: what each body must be. */
  readonly sha256?: string;
  /** All clients together read no faster. */
  readonly linkBytesPerSecond?: number;
  /** All clients together read no faster from one host. */
  readonly hostLinkBytesPerSecond?: number;
  /** A refusal by 503 is repeated after a second. */
  readonly retries?: boolean;
  /** For https URLs. */
  readonly secure?: SecureOptions;
}

export interface SecureOptions {
  /** The path of a PEM file. */
  readonly caPath: string;
  readonly token: string;
  readonly http2: boolean;
}

export interface LoadReport {
  readonly seconds: number;
  readonly bytes: number;
  /** Taken by the clients. */
  readonly clientCpuSeconds: number;
  /** Answered in full. */
  readonly requests: number;
  readonly cutOff: number;
  readonly failures: number;
  /** One of them. */
  readonly failure?: string;
  readonly firstByteMedianMs: number;
  readonly firstByteMs: readonly number[] | null;
  /** Requests that were repeated after a refusal. */
  readonly retried: number;
  /** From the start of all to the end of a request, on average. */
  readonly finishedMeanMs: number;
}

export type LoadGenerator = (options: LoadOptions) => Promise<LoadReport>;

/** Far above the longest measurement. */
const TIMEOUT_MS = 300_000;

/** With the path of the built program, and what ends it early. */
export function loadGenerator(path: string, signal: AbortSignal): LoadGenerator {
  return (options) =>
    new Promise((resolve, reject) => {
      const child = execFile(path, argumentsOf(options), { timeout: TIMEOUT_MS, signal }, (error, stdout, stderr) => {
        if (error) reject(new Error(`load: ${stderr || error.message}`));
        else resolve(JSON.parse(stdout) as LoadReport);
      });
      child.stdin?.end(linesOf(options).join('\n'));
    });
}

function linesOf({ urls, plan }: LoadOptions): readonly string[] {
  return plan === undefined ? urls : plan.flatMap((own, client) => own.map((url) => `${String(client)} ${url}`));
}

function argumentsOf(options: LoadOptions): string[] {
  const { clients, requests, seconds, cutOffSeconds, bytesPerSecond, sha256, secure, retries } = options;
  const { linkBytesPerSecond, hostLinkBytesPerSecond, plan } = options;
  return [
    `-clients=${String(clients)}`,
    ...(requests === undefined ? [] : [`-requests=${String(requests)}`]),
    ...(seconds === undefined ? [] : [`-duration=${String(seconds)}s`]),
    ...(cutOffSeconds === undefined ? [] : [`-cut-off=${String(cutOffSeconds)}s`]),
    ...(bytesPerSecond === undefined ? [] : [`-rate=${String(bytesPerSecond)}`]),
    ...(sha256 === undefined ? [] : [`-sha256=${sha256}`]),
    ...(linkBytesPerSecond === undefined ? [] : [`-link=${String(linkBytesPerSecond)}`]),
    ...(hostLinkBytesPerSecond === undefined ? [] : [`-host-link=${String(hostLinkBytesPerSecond)}`]),
    ...(plan === undefined ? [] : ['-planned']),
    ...(retries === undefined ? [] : [`-retries=${String(retries)}`]),
    ...(secure === undefined
      ? []
      : [`-ca=${secure.caPath}`, `-token=${secure.token}`, `-http2=${String(secure.http2)}`]),
  ];
}
