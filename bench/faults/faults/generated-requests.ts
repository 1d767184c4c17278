/** Clients that send whatever a grammar can make: nothing of it is a failure of ours. */
import { connect } from 'node:net';
import { makePackage } from '../../../test/support/image.ts';
import { RawConnection } from '../../../test/support/raw-connection.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import { generateRequest, type GeneratedRequest } from '../request-grammar.ts';
import { swarm } from '../swarm.ts';

const AT_ONCE = 16;
/** What the service logs of so many requests is kept until it ends. */
const PER_START = 50_000;
const LONGEST_MS = 1000;
/** Whatever became of the bytes before it: behind them something is answered. */
const LAST = '\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n';

export const GENERATED_REQUESTS: Fault = {
  id: 'abuse',
  what: 'clients send requests that a grammar makes, a third of them mangled',
  expected:
    'each is answered within 1 s, none by a 5xx; the service neither ends nor asks a registry for what is no digest',
  // No fault: CI sends them besides.
  isExtra: true,
  run: sendGenerated,
};

async function sendGenerated(bench: FaultBench): Promise<Seen> {
  const { random } = bench;
  const registry = await bench.startRegistry({ auth: 'anonymous' });
  const kept = makePackage(1000, 1);
  const unknown = [2, 3, 4].map((seed) => makePackage(1000, seed).digest);
  registry.publish(kept);
  const service = await bench.startService({ registry });
  const violations: string[] = [];
  const statuses = new Map<string, number>();
  const total = bench.times(50_000, 1_000_000);
  let slowestMs = 0;
  for (let sent = 0; sent < total; sent += PER_START) {
    await service.get(kept);
    const requests = Array.from({ length: Math.min(PER_START, total - sent) }, () =>
      generateRequest(random, kept.digest, unknown),
    );
    await swarm(requests, AT_ONCE, async (request) => {
      const { outcome, ms } = await send(service, request);
      statuses.set(outcome, (statuses.get(outcome) ?? 0) + 1);
      slowestMs = Math.max(slowestMs, ms);
      if (/^5|^nothing/.test(outcome)) violations.push(`${outcome}: ${JSON.stringify(request.bytes)}`);
    });
    if (service.hasCrashed) return { injected: sent, figures: 'the service has ended', violations };
    // Its counters know of requests that no client of the bench has counted.
    const code = await service.stop();
    if (code !== 0) violations.push(`exit code ${String(code)}`);
    await service.start();
  }
  const tally = [...statuses]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([outcome, count]) => `${String(count)} × ${outcome}`);
  return { injected: total, figures: `${tally.join(', ')}; ${slowestMs.toFixed(0)} ms at most`, violations };
}

/** The status, `cut` for a connection that is closed without one, or `nothing` when neither comes in time. */
async function send(
  service: FaultedService,
  { bytes, isMangled }: GeneratedRequest,
): Promise<{ outcome: string; ms: number }> {
  const began = performance.now();
  const connection = new RawConnection(connect(service.port, '127.0.0.1'));
  connection.send(isMangled ? `${bytes}${LAST}` : bytes);
  const { promise: late, resolve } = Promise.withResolvers<'nothing'>();
  const timer = setTimeout(resolve, LONGEST_MS, 'nothing');
  // Of what is mangled nobody knows whether it is answered with a body.
  const answer = await Promise.race([connection.answer(isMangled || bytes.startsWith('HEAD ')), late]);
  clearTimeout(timer);
  const ms = performance.now() - began;
  await connection.close();
  const outcome = answer === 'nothing' ? answer : answer === undefined ? 'cut' : String(answer.status);
  return { outcome, ms };
}
