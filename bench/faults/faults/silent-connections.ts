/** Probes and requests while very many connections send nothing and readers read nothing. */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeImage } from '../../../test/support/image.ts';
import type { Fault } from '../fault.ts';
import { tally } from '../traffic/swarm.ts';

/** More connections than the service accepts. */
const SILENT = 2100;
const SILENT_AT_ONCE = 100;
/** More readers than the service sends bodies to at a time. */
const STALLED = 40;
const MIB = 1024 * 1024;
const LARGE_BYTES = 16 * MIB;
const SMALL_BYTES = 60_000;
const PROBES = 20;
const MAX_PROBE_MS = 1000;

export const SILENT_CONNECTIONS: Fault = {
  id: 'F31',
  what: '2 100 connections send nothing. 40 clients request packages and do not read them; this is more than the number of bodies that the service sends at a time.',
  expected: 'The service answers probes on new connections within 1 s, and serves small packages.',
  run: async (bench) => {
    const violations: string[] = [];
    const registry = await bench.startRegistry();
    const service = await bench.startService({ registry, settings: { server: { maxSocketMemory: '60Mi' } } });
    const [large, small] = [LARGE_BYTES, SMALL_BYTES].map((size) => makeImage([bench.random.bytes(size)]));
    if (large === undefined || small === undefined) throw new Error('two images');
    registry.publish(large, small);
    for (const image of [large, small]) await service.get(image);
    const sockets: Socket[] = [];
    const open = (): Socket => {
      const socket = connect(service.port, '127.0.0.1').on('error', () => undefined);
      sockets.push(socket);
      return socket;
    };
    const leaving = new AbortController();
    const stalled = Array.from({ length: STALLED }, () =>
      service.get(large, { bytesPerSecond: 1, signal: leaving.signal }),
    );
    for (let opened = 0; opened < SILENT; opened += SILENT_AT_ONCE) {
      for (let each = 0; each < SILENT_AT_ONCE; each++) open();
      await sleep(1);
    }
    let slowestMs = 0;
    for (let probe = 0; probe < PROBES; probe++) {
      const began = performance.now();
      const { status } = await service.probe('/healthz').catch(() => ({ status: 0 }));
      slowestMs = Math.max(slowestMs, performance.now() - began);
      if (status !== 200) violations.push(`a probe was answered ${String(status)}`);
    }
    if (slowestMs > MAX_PROBE_MS) violations.push(`a probe took ${slowestMs.toFixed(0)} ms`);
    const gots = await Promise.all(Array.from({ length: STALLED }, () => service.get(small)));
    for (const { verdict, why } of gots)
      if (verdict !== 'whole') violations.push(`a small package: ${verdict}, ${why}`);
    leaving.abort();
    const ends = await Promise.all(stalled);
    for (const socket of sockets) socket.destroy();
    return {
      injected: SILENT + STALLED,
      figures: `the slowest of ${String(PROBES)} probes took ${slowestMs.toFixed(0)} ms; small packages: ${tally(gots)}; clients that do not read: ${tally(ends)}`,
      violations,
    };
  },
};
