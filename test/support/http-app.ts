/** The HTTP interface on a real socket with the use cases of a test. */
import type { AddressInfo } from 'node:net';
import { Admission, ADMISSION_LIMITS } from '../../src/adapters/http/server/admission.ts';
import { createHttpApp } from '../../src/adapters/http/app.ts';
import { HttpServer, LIMITS } from '../../src/adapters/http/server/http-server.ts';
import { refuseHeads } from '../../src/adapters/http/server/refused-heads.ts';
import type { FinishedRequest, RequestObserver } from '../../src/adapters/http/server/request-record.ts';
import { inspectionOf } from './inspection.ts';

export interface RunningApp {
  readonly url: string;
  readonly port: number;
  /** In the order in which they ended. */
  readonly finished: readonly FinishedRequest[];
  /** Resolves when `count` requests have ended. */
  finishedCount(count: number): Promise<void>;
  close(): Promise<void>;
}

export async function startHttpApp(options: Partial<Parameters<typeof createHttpApp>[0]>): Promise<RunningApp> {
  const unused = { execute: () => Promise.reject(new Error('not part of this test')) };
  const finished: FinishedRequest[] = [];
  let waiting: { count: number; resolve: () => void } | undefined;
  const observers: readonly RequestObserver[] = [
    ...(options.observers ?? []),
    (request) => {
      finished.push(request);
      if (waiting !== undefined && finished.length >= waiting.count) waiting.resolve();
    },
  ];
  const app = createHttpApp({
    images: { tags: unused.execute, manifest: unused.execute, image: unused.execute },
    icons: unused,
    packages: { get: { ...unused, head: unused.execute }, manifests: { manifest: unused.execute } },
    explain: unused,
    admission: new Admission({ ...ADMISSION_LIMITS, maxHeldBytes: Infinity }),
    readiness: [],
    status: { version: '0.0.0', node: undefined, pod: undefined, startedAt: new Date(), inspection: inspectionOf() },
    metrics: async () => ({ contentType: 'text/plain', text: '' }),
    ...options,
    observers,
  });
  const server = new HttpServer(app.callback(), undefined, LIMITS, refuseHeads(observers));
  const { port }: AddressInfo = await server.listen('127.0.0.1', 0);
  return {
    url: `http://127.0.0.1:${String(port)}`,
    port,
    finished,
    finishedCount: (count) =>
      new Promise((resolve) => {
        if (finished.length >= count) resolve();
        else waiting = { count, resolve };
      }),
    close: () => server.close(0),
  };
}
