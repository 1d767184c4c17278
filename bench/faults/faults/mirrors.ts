/** Mirrors before the registry send wrong bytes, stall, are slow, refuse, ask for credentials, redirect or cannot be reached. */
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import {
  answering,
  drippingAfter,
  pacedAt,
  redirecting,
  refusing,
  resettingAfter,
  stallingAfter,
} from '../failpoints/registry/behaviours.ts';
import type { Behaviour } from '../failpoints/registry/exchange.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import type { Got } from '../traffic/client.ts';
import { swarm, tally } from '../traffic/swarm.ts';

const KIB = 1024;
const SIZES = [20 * KIB, 300 * KIB, 3 * KIB * KIB];
/** A node waits this long for a package. */
const MAX_MS = 10_000;

interface Sickness {
  readonly name: string;
  readonly behaviour?: Behaviour;
  /** Whether the fault affects manifests too, not only blobs. */
  readonly isTotal?: boolean;
  readonly isClosed?: boolean;
  readonly auth?: 'basic';
  /** A client that has received a part of a wrong body repeats its request. */
  readonly mayCut?: boolean;
}

const flipped = answering(({ body }) => ({ body: body.map((byte, at) => (at % 1000 === 7 ? byte ^ 1 : byte)) }));

const SICKNESSES: readonly Sickness[] = [
  { name: 'healthy' },
  { name: 'sends wrong layers', behaviour: flipped, mayCut: true },
  { name: 'sends wrong layers and manifests', behaviour: flipped, isTotal: true, mayCut: true },
  { name: 'is silent', behaviour: stallingAfter(-1), isTotal: true },
  { name: 'stalls in the middle', behaviour: stallingAfter(10 * KIB) },
  { name: 'drips', behaviour: drippingAfter(5 * KIB, 100) },
  { name: 'is slow', behaviour: pacedAt(200 * KIB) },
  { name: 'resets before the head', behaviour: resettingAfter(-1), isTotal: true },
  { name: 'resets in the middle', behaviour: resettingAfter(15 * KIB) },
  { name: 'answers 500', behaviour: refusing(500), isTotal: true },
  { name: 'throttles', behaviour: refusing(429, { 'retry-after': '60' }), isTotal: true },
  { name: 'has nothing', behaviour: refusing(404), isTotal: true },
  { name: 'asks for credentials', auth: 'basic' },
  { name: 'redirects to itself', behaviour: redirecting('/v2/'), isTotal: true },
  { name: 'redirects to a metadata service', behaviour: redirecting('http://169.254.169.254/'), isTotal: true },
  { name: 'refuses connections', isClosed: true },
];

export const MIRRORS: Fault = {
  id: 'F37',
  what: 'A mirror before the registry sends wrong bytes, does not answer, stalls, sends single bytes, is slow, resets, answers 500, 429 or 404, asks for credentials, redirects, or refuses connections. The service runs with and without a cache.',
  expected:
    'No response with wrong bytes completes. Each client gets the whole package within 10 s; if the mirror sends wrong bytes, at the second request at the latest. No mirror gets the credential of a registry.',
  limitMs: 240_000,
  run: tryEach,
};

interface Patient {
  readonly sickness: Sickness;
  readonly origin: ScriptedRegistry;
  readonly endpoint: string;
  readonly images: readonly TestImage[];
}

async function tryEach(bench: FaultBench): Promise<Seen> {
  const violations: string[] = [];
  const patients = await Promise.all(SICKNESSES.map((sickness) => infect(bench, sickness, violations)));
  const services = await bench.startPair({
    settings: {
      credentials: { registries: patients.map(({ origin }, index) => ({ ...origin.entry, default: index === 0 })) },
      registry: {
        trustedRealms: patients.map(({ origin }) => origin.tokenHost),
        mirrors: patients.map(({ origin, endpoint }) => ({ of: hostOf(origin), endpoint })),
      },
    },
  });
  const gots = (
    await swarm(patients, 4, async (patient) =>
      Promise.all(services.map((service) => fetchAll(service, patient, violations))),
    )
  ).flat(2);
  const slowest = gots.toSorted((a, b) => b.got.ms - a.got.ms)[0];
  const worst =
    slowest === undefined
      ? ''
      : `; the slowest package took ${String(Math.round(slowest.got.ms))} ms (mirror: ${slowest.name})`;
  return {
    injected: gots.length,
    figures: `${String(SICKNESSES.length)} kinds: ${tally(gots.map(({ got }) => got))}${worst}`,
    violations,
  };
}

async function infect(bench: FaultBench, sickness: Sickness, violations: string[]): Promise<Patient> {
  const { name, behaviour, isTotal = false, isClosed = false, auth = 'anonymous' } = sickness;
  const images = Array.from({ length: bench.times(1, 10) }, () => SIZES)
    .flat()
    .map((size) => makeImage([bench.random.bytes(size)]));
  const [origin, mirror] = [await bench.startRegistry(), await bench.startRegistry({ auth })];
  origin.publish(...images);
  mirror.publish(...images);
  mirror.onRefused = () => {
    violations.push(`${name}: the mirror got a credential`);
  };
  mirror.scriptAll(({ place, request }) => {
    if (request.headers.authorization !== undefined) violations.push(`${name}: the mirror got a credential`);
    return isTotal || place === 'blob' ? behaviour : undefined;
  });
  const endpoint = `http://${hostOf(mirror)}`;
  if (isClosed) await mirror.close();
  return { sickness, origin, endpoint, images };
}

async function fetchAll(
  service: FaultedService,
  { sickness: { name, mayCut = false }, origin, images }: Patient,
  violations: string[],
): Promise<{ readonly name: string; readonly got: Got }[]> {
  const all: { readonly name: string; readonly got: Got }[] = [];
  const options = { query: { repository: origin.repo } };
  for (const image of images) {
    const what = `${name}, ${String(image.layer.bytes.byteLength)} bytes`;
    let got = await service.get(image, options);
    all.push({ name, got });
    if (mayCut && (got.verdict === 'cut' || got.verdict === 'refused')) {
      got = await service.get(image, options);
      all.push({ name, got });
    }
    if (got.verdict !== 'whole') violations.push(`${what}: ${got.verdict}, ${String(got.status)} ${got.why}`);
    if (got.ms > MAX_MS) violations.push(`${what}: took ${String(Math.round(got.ms))} ms`);
  }
  return all;
}

function hostOf({ port }: ScriptedRegistry): string {
  return `127.0.0.1:${String(port)}`;
}
