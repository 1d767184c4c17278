/** Token servers that are slow, cannot be reached, send malformed answers, or revoke their tokens. */
import { setTimeout as sleep } from 'node:timers/promises';
import { makeImage } from '../../../test/support/image.ts';
import type { Fault } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import { answering, delayedBy, honestly, refusing, resettingAfter } from '../failpoints/registry/behaviours.ts';
import type { Behaviour } from '../failpoints/registry/exchange.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import { swarm } from '../traffic/swarm.ts';

interface Trouble {
  readonly name: string;
  /** The behaviour at the n-th request for a token; undefined when the server answers correctly. */
  readonly answer?: (attempt: number) => Behaviour | undefined;
  readonly fields?: Readonly<Record<string, unknown>>;
  /** The server answers when all requests wait, because a failure is not remembered for later requests. */
  readonly isLate?: boolean;
  /** The server revokes all tokens when all clients have one; then all clients send another request. */
  readonly revokes?: boolean;
  readonly expected: number;
  /** The expected number of requests for tokens; undefined if the service repeats its request for some time. */
  readonly calls: number | undefined;
}

/**
 * The time of a request until its answer begins. Late answers wait for the challenges of all clients, which took
 * more than 2 s on a machine of two processors.
 */
const HEADERS_SECONDS = 4;
const MIB = 1024 * 1024;
/** A request for a token is repeated less often than this within `registry.timeouts.retrySeconds`. */
const MAX_REPEATS = 40;

/** After this time the last client has got its challenge and waits for the token. */
const LATE_MS = 300;
const json = (body: string): Behaviour =>
  answering({ status: 200, headers: { 'content-length': Buffer.byteLength(body) }, body: Buffer.from(body) });

const TROUBLES: readonly Trouble[] = [
  { name: 'slow', answer: () => delayedBy(1000, honestly), expected: 200, calls: 1 },
  { name: 'too slow', answer: () => delayedBy(1000 * HEADERS_SECONDS + 1500, honestly), expected: 504, calls: 1 },
  { name: 'resets once', answer: (attempt) => once(attempt, resettingAfter(-1)), expected: 200, calls: 2 },
  { name: 'resets always', answer: () => resettingAfter(-1), expected: 502, calls: undefined },
  { name: '500 twice', answer: (attempt) => (attempt < 3 ? refusing(500) : undefined), expected: 200, calls: 3 },
  { name: '503 always', answer: () => refusing(503), expected: 502, calls: undefined },
  { name: 'refuses', answer: () => refusing(401), isLate: true, expected: 502, calls: 1 },
  { name: 'forbids', answer: () => refusing(403), isLate: true, expected: 502, calls: 1 },
  { name: 'revokes its tokens', revokes: true, expected: 200, calls: 2 },
  { name: 'states no lifetime', fields: {}, expected: 200, calls: 1 },
  { name: 'states a lifetime as a string', fields: { expires_in: '300' }, expected: 200, calls: 1 },
  { name: 'states a negative lifetime', fields: { expires_in: -1 }, expected: 200, calls: 1 },
  { name: 'gives a number', answer: () => json('{"token":7}'), isLate: true, expected: 502, calls: 1 },
  { name: 'gives nothing', answer: () => json('{}'), isLate: true, expected: 502, calls: 1 },
  { name: 'gives null', answer: () => json('null'), isLate: true, expected: 502, calls: 1 },
  { name: 'gives no JSON', answer: () => json('{"token":"canary-'), isLate: true, expected: 502, calls: 1 },
  { name: 'gives a header', answer: () => json('{"token":"canary\\r\\nx: y"}'), isLate: true, expected: 502, calls: 1 },
  { name: 'gives 1 MiB', answer: () => json(`{"token":"${'c'.repeat(MIB)}"}`), isLate: true, expected: 502, calls: 1 },
];

export const TOKEN_SERVERS: Fault = {
  id: 'F8',
  what: 'The token server is slow, resets, refuses, answers 5xx, a token of 1 MiB, other types or no lifetime, or revokes its tokens, while many clients wait.',
  expected:
    'The service fetches one token for all waiting requests, and one more if that token is refused. Then all requests succeed, or all get 502 or 504.',
  run: async (bench) => {
    const violations: string[] = [];
    const clients = bench.times(20, 200);
    // The number of clients of the server that revokes its tokens.
    const many = bench.times(200, 1000);
    const registries = await Promise.all(TROUBLES.map(() => bench.startRegistry()));
    const service = await startService(bench, registries);
    const calls = await swarm(TROUBLES, TROUBLES.length, (trouble, index) => {
      const registry = registries[index];
      if (registry === undefined) throw new Error('a server has no registry');
      return ask(bench, service, registry, trouble, trouble.revokes === true ? many : clients, violations);
    });
    const total = calls.reduce((sum, one) => sum + one, 0);
    const figures = `${String(TROUBLES.length)} servers with ${String(clients)} clients each, one of them with ${String(many)}: ${String(total)} requests for tokens, as expected`;
    return {
      injected: (TROUBLES.length - 1) * clients + many,
      figures: violations.length === 0 ? figures : 'see the violations',
      violations,
    };
  },
};

function startService(bench: FaultBench, registries: readonly ScriptedRegistry[]): Promise<FaultedService> {
  return bench.startService({
    settings: {
      registry: {
        trustedRealms: registries.map(({ tokenHost }) => tokenHost),
        timeouts: { headersSeconds: HEADERS_SECONDS },
      },
      credentials: { registries: registries.map(({ entry }, index) => ({ ...entry, default: index === 0 })) },
    },
  });
}

/** Resolves with the number of requests for tokens. */
async function ask(
  { random }: FaultBench,
  service: FaultedService,
  registry: ScriptedRegistry,
  { name, answer, fields, isLate = false, revokes = false, expected, calls }: Trouble,
  clients: number,
  violations: string[],
): Promise<number> {
  const images = Array.from({ length: 2 * clients }, () => makeImage([random.bytes(500)]));
  registry.publish(...images);
  if (fields !== undefined) registry.tokenFields = fields;
  const everybodyAsked = async (): Promise<void> => {
    while (registry.challenged < clients) await sleep(10);
    await sleep(LATE_MS);
  };
  registry.scriptAll(({ place, attempt }) => {
    const behaviour = place === 'token' ? answer?.(attempt) : undefined;
    if (behaviour === undefined || !isLate) return behaviour;
    return async (exchange) => {
      await everybodyAsked();
      await behaviour(exchange);
    };
  });
  const query = { repository: registry.repo };
  const rounds = revokes ? [images.slice(0, clients), images.slice(clients)] : [images.slice(0, clients)];
  for (const round of rounds) {
    const gots = await swarm(round, round.length, (image) => service.get(image, { query }));
    const others = gots.filter(({ status }) => status !== expected);
    if (others.length > 0) {
      violations.push(
        `${name}: ${String(others.length)} answers such as ${String(others[0]?.status)} ${others[0]?.why ?? ''}`,
      );
    }
    if (revokes) registry.revokeTokens();
  }
  const asked = registry.requests('token');
  const isExpected = calls === undefined ? asked > 1 && asked <= MAX_REPEATS : asked === calls;
  if (!isExpected) violations.push(`${name}: ${String(asked)} requests for tokens, not ${String(calls ?? 'a few')}`);
  return asked;
}

function once(attempt: number, behaviour: Behaviour): Behaviour | undefined {
  return attempt === 1 ? behaviour : undefined;
}
