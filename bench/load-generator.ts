/** Runs the clients: one process of bench/load for each measurement. */
import { execFile } from 'node:child_process';

export interface LoadOptions {
  readonly urls: readonly string[];
  /** The URLs of each client in the order of its requests. Replaces `urls` and `requests`. */
  readonly plan?: readonly (readonly string[])[];
  readonly clients: number;
  /** The number of requests of all clients together. */
  readonly requests?: number;
  /** No request begins after this time. */
  readonly seconds?: number;
  /** After this time all requests are cut off. This does not count as a failure. */
  readonly cutOffSeconds?: number;
  /** The highest speed at which each client reads. */
  readonly bytesPerSecond?: number;
  /** The SHA-256 of each body, in hexadecimal. */
  readonly sha256?: string;
  /** The highest speed of all clients together. */
  readonly linkBytesPerSecond?: number;
  /** The highest speed of all clients together from one host. */
  readonly hostLinkBytesPerSecond?: number;
  /** Whether a client repeats a request one second after a 503. */
  readonly retries?: boolean;
  /** The options for https URLs. */
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
  /** The processor time of the clients. */
  readonly clientCpuSeconds: number;
  /** The number of complete answers. */
  readonly requests: number;
  readonly cutOff: number;
  readonly failures: number;
  /** The message of one failure. */
  readonly failure?: string;
  readonly firstByteMedianMs: number;
  readonly firstByteMs: readonly number[] | null;
  /** The number of repeated requests. */
  readonly retried: number;
  /** The mean time from the start of the run to the end of a request. */
  readonly finishedMeanMs: number;
}

export type LoadGenerator = (options: LoadOptions) => Promise<LoadReport>;

/** Much longer than the longest measurement. */
const TIMEOUT_MS = 300_000;

/** `path` is the built program; `signal` ends it early. */
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
