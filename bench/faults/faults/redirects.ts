/** Redirects in chains, in circles, to plain HTTP, to hosts that collect credentials, and to forbidden addresses. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { Fault } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import { redirecting } from '../failpoints/registry/behaviours.ts';
import type { Place } from '../failpoints/registry/exchange.ts';
import { Listener } from '../failpoints/registry/listener.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import { swarm } from '../traffic/swarm.ts';

const STATUSES = [301, 302, 303, 307, 308];
const MAX_REDIRECTS = 5;
const AT_ONCE = 16;

/** The address of the metadata service of a cloud, written in several ways; and URLs that are not HTTP. */
const FORBIDDEN = [
  'http://169.254.169.254/latest/meta-data/iam',
  'http://2852039166/',
  'http://0xa9fea9fe/',
  'http://[::ffff:169.254.169.254]/',
  'http://[fd00:ec2::254]/latest',
  'http://[fe80::1]/',
  'http://100.100.100.200/latest/meta-data/',
  'https://169.254.169.254:443/',
  'file:///etc/passwd',
  'unix:/run/containerd/containerd.sock:/v1',
  'ftp://127.0.0.1/x',
  'javascript:alert(1)',
  'http://',
  '//',
];

interface Journey {
  readonly kind: 'chain' | 'circle' | 'downgrade' | 'elsewhere' | 'forbidden';
  readonly place: Exclude<Place, 'storage'>;
  readonly status: number;
  /** The number of redirects in a chain. */
  readonly length: number;
  readonly target: string;
  readonly image: TestImage;
}

export const REDIRECTS: Fault = {
  id: 'F9',
  what: 'The registry redirects in chains and circles, from https to http, to a host that collects credentials, to metadata services, and to URLs that are not HTTP.',
  expected:
    'The service follows up to five allowed redirects, else it answers 502. It sends no credential to another host, connects to no forbidden address, and remembers no redirect.',
  run: async (bench) => {
    const violations: string[] = [];
    const collector = await Collector.start();
    bench.allowDial(collector.host);
    try {
      const registries = {
        http: await bench.startRegistry(),
        https: await bench.startRegistry({ tls: 'localhost', auth: 'basic' }),
      };
      const entries = [registries.http.entry, { ...registries.https.entry, default: false }];
      const trustedRealms = [registries.http.tokenHost];
      const service = await bench.startService({
        settings: { registry: { trustedRealms }, credentials: { registries: entries } },
      });
      const journeys = Array.from({ length: bench.times(600, 20_000) }, () => journeyOf(bench));
      await swarm(journeys, AT_ONCE, async (journey) => {
        const registry = journey.kind === 'downgrade' ? registries.https : registries.http;
        const expected = send(registry, collector, journey);
        const got = await service.get(journey.image, { query: { repository: registry.repo } });
        if (got.status !== expected) {
          violations.push(`${nameOf(journey)}: ${String(got.status)} ${got.why}, not ${String(expected)}`);
        }
        registry.withdraw(journey.image);
        collector.forget(journey.image);
      });
      violations.push(...collector.violations);
      const kinds = Map.groupBy(journeys, ({ kind }) => kind);
      const counts = [...kinds].map(([kind, all]) => `${String(all.length)} ${kind}`).join(', ');
      return {
        injected: journeys.length,
        figures: `${counts}; ${String(collector.requests)} requests to the other host, ${String(collector.violations.length)} with a credential`,
        violations,
      };
    } finally {
      await collector.close();
    }
  },
};

function journeyOf({ random }: FaultBench): Journey {
  const kind = random.pick(['chain', 'circle', 'downgrade', 'elsewhere', 'forbidden'] as const);
  return {
    kind,
    place: random.pick(['manifest', 'blob'] as const),
    status: random.pick(STATUSES),
    length: random.between(1, MAX_REDIRECTS + 3),
    target: random.pick(FORBIDDEN),
    image: makeImage([random.bytes(3000)]),
  };
}

/** Scripts the redirects; returns the status that the client must get. */
function send(registry: ScriptedRegistry, collector: Collector, journey: Journey): number {
  const { kind, place, status, length, target, image } = journey;
  const content = place === 'manifest' ? image.manifest : image.layer;
  const { digest } = content.descriptor;
  registry.publish(image);
  const lead = (to: (attempt: number) => string | undefined): void => {
    registry.script(digest, (exchange) => {
      if (exchange.place !== place) return undefined;
      const location = to(exchange.attempt);
      return location === undefined ? undefined : redirecting(location, status);
    });
  };
  const folder = place === 'manifest' ? 'manifests' : 'blobs';
  const self = `/v2/deckhouse/ee/${folder}/${digest}`;
  switch (kind) {
    case 'chain':
      lead((attempt) => (attempt <= length ? self : undefined));
      return length <= MAX_REDIRECTS ? 200 : 502;
    case 'circle':
      lead(() => self);
      return 502;
    case 'downgrade':
    case 'elsewhere':
      collector.keep(digest, content.bytes);
      lead(() => `${collector.origin}/${digest}?X-Amz-Signature=canary-signature`);
      return kind === 'elsewhere' ? 200 : 502;
    case 'forbidden':
      lead(() => target);
      return 502;
  }
}

function nameOf({ kind, place, status, length, target }: Journey): string {
  const detail = kind === 'chain' ? ` of ${String(length)}` : kind === 'forbidden' ? ` ${target}` : '';
  return `${kind}${detail} by ${String(status)} at ${place}`;
}

/** The other host: it has the requested content, and reports each credential that it gets. */
class Collector {
  readonly #listener: Listener;
  readonly #content: Map<string, Uint8Array>;
  readonly #seen: { requests: number; readonly violations: string[] };

  private constructor(
    listener: Listener,
    content: Map<string, Uint8Array>,
    seen: { requests: number; violations: string[] },
  ) {
    this.#listener = listener;
    this.#content = content;
    this.#seen = seen;
  }

  static async start(): Promise<Collector> {
    const content = new Map<string, Uint8Array>();
    const seen = { requests: 0, violations: [] as string[] };
    const listener = await Listener.start(({ url = '', headers }: IncomingMessage, response: ServerResponse) => {
      seen.requests++;
      for (const name of ['authorization', 'cookie', 'proxy-authorization']) {
        if (headers[name] !== undefined) seen.violations.push(`the other host got ${name}`);
      }
      if (JSON.stringify(headers).includes('canary-pass')) seen.violations.push('the other host got a password');
      const body = content.get(url.slice(1, url.indexOf('?')));
      response.writeHead(body === undefined ? 404 : 200, { 'content-length': body?.byteLength ?? 0 }).end(body);
    });
    return new Collector(listener, content, seen);
  }

  get host(): string {
    return this.#listener.host;
  }

  get origin(): string {
    return this.#listener.origin;
  }

  get requests(): number {
    return this.#seen.requests;
  }

  get violations(): readonly string[] {
    return this.#seen.violations;
  }

  keep(digest: string, bytes: Uint8Array): void {
    this.#content.set(digest, bytes);
  }

  forget({ manifest, layer }: TestImage): void {
    for (const { descriptor } of [manifest, layer]) this.#content.delete(descriptor.digest);
  }

  close(): Promise<void> {
    return this.#listener.close();
  }
}
