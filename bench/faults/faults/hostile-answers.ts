/** A hostile registry sends huge, deeply nested or malformed answers, or answers without a request. */
import { gzipSync } from 'node:zlib';
import { makeBlob, makeImage, type TestBlob, type TestImage } from '../../../test/support/image.ts';
import type { Fault } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import type { Got } from '../traffic/client.ts';
import { peakBytes, residentBytes, resetPeak } from '../validate/process-facts.ts';
import { answering, saying } from '../failpoints/registry/behaviours.ts';
import type { Behaviour, Exchange } from '../failpoints/registry/exchange.ts';
import { swarm } from '../traffic/swarm.ts';
import { type Allowed, runTrials, type Trial, unexpected } from '../traffic/trials.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const MAX_PEAK_GROWTH = 32 * MIB;
/** With a small heap V8 collects early, so growth is memory in use. The idle service takes about 45 MiB of it. */
const HEAP_LIMITS = '--max-old-space-size=64 --max-semi-space-size=2';
const AT_ONCE = 1;
const PACKAGE_BYTES = 3000;

interface Hostility {
  readonly name: string;
  readonly behaviour: Behaviour;
  /** Manifests and blobs if absent. */
  readonly place?: Trial['place'];
  /** Refused if absent; either if the registry sends the right answer and further bytes. */
  readonly becomes?: Allowed;
}

/** The bytes of the answer; the words LENGTH and BODY stand for those of the honest answer. */
const raw =
  (head: string): Behaviour =>
  (exchange) => {
    const { body } = exchange.honest;
    const [before = '', after] = head.replace('LENGTH', String(body.byteLength)).split('BODY');
    const parts = [Buffer.from(before), ...(after === undefined ? [] : [body, Buffer.from(after)])];
    return saying(Buffer.concat(parts))(exchange);
  };
const status = (line: string, ...fields: string[]): string => [`HTTP/1.1 ${line}`, ...fields, '', ''].join('\r\n');
const WHOLE = status('200 OK', 'Content-Length: LENGTH');

/** A gzip file of 256 members (RFC 1952, section 2.2). */
const BOMB = Buffer.concat(new Array<Uint8Array>(256).fill(gzipSync(Buffer.alloc(MIB))));

const HOSTILITIES: readonly Hostility[] = [
  { name: 'a header of 10 MiB', behaviour: raw(status('200 OK', `X: ${'x'.repeat(10 * MIB)}`)) },
  { name: '100 000 headers', behaviour: raw(status('200 OK', ...new Array<string>(100_000).fill('X: y'))) },
  { name: '10 MiB of status line', behaviour: raw(`HTTP/1.1 200 ${'O'.repeat(10 * MIB)}`) },
  { name: 'an endless header', behaviour: endless('HTTP/1.1 200 OK\r\nX: ', 'x') },
  { name: 'a manifest without end', place: 'manifest', behaviour: endless(status('200 OK'), '[') },
  {
    name: 'a manifest of 1 GiB',
    place: 'manifest',
    behaviour: endless(status('200 OK', `Content-Length: ${String(1024 * MIB)}`), ' '),
  },
  { name: 'a blob without end', place: 'blob', behaviour: endless(status('200 OK'), ' ') },
  { name: 'chunks without end', behaviour: endless(status('200 OK', 'Transfer-Encoding: chunked'), '1\r\nx\r\n') },
  {
    name: 'an error body of 16 MiB',
    behaviour: raw(status('404 Not Found', `Content-Length: ${String(16 * MIB)}`) + ' '.repeat(16 * MIB)),
  },
  { name: 'an error body without end', behaviour: endless(status('403 Forbidden'), '{"errors":[') },
  {
    name: 'chunk sizes that are no numbers',
    behaviour: raw(`${status('200 OK', 'Transfer-Encoding: chunked')}zz\r\nBODY`),
  },
  {
    name: 'a chunk of 2^64 bytes',
    becomes: 'either',
    behaviour: raw(`${status('200 OK', 'Transfer-Encoding: chunked')}ffffffffffffffff\r\nBODY`),
  },
  { name: 'a negative chunk', behaviour: raw(`${status('200 OK', 'Transfer-Encoding: chunked')}-1\r\nBODY`) },
  {
    name: 'a chunk extension of 1 MiB',
    behaviour: raw(`${status('200 OK', 'Transfer-Encoding: chunked')}1;${'x'.repeat(MIB)}\r\nBODY`),
  },
  {
    name: 'trailers of 1 MiB',
    behaviour: raw(`${status('200 OK', 'Transfer-Encoding: chunked')}0\r\nX: ${'x'.repeat(MIB)}\r\n\r\n`),
  },
  {
    name: 'both framings',
    behaviour: raw(`${status('200 OK', 'Transfer-Encoding: chunked', 'Content-Length: 5')}0\r\n\r\n`),
  },
  { name: 'two lengths', behaviour: raw(`${status('200 OK', 'Content-Length: 5', 'Content-Length: 6')}BODY`) },
  { name: 'a negative length', behaviour: raw(`${status('200 OK', 'Content-Length: -5')}BODY`) },
  {
    name: 'a length beyond all numbers',
    behaviour: raw(`${status('200 OK', `Content-Length: ${'9'.repeat(40)}`)}BODY`),
  },
  { name: 'right bytes labelled gzip', behaviour: labelled('gzip', (body) => body), becomes: 'whole' },
  { name: 'right bytes labelled aws-chunked', behaviour: labelled('aws-chunked', (body) => body), becomes: 'whole' },
  { name: 'content in gzip', behaviour: labelled('gzip', (body) => gzipSync(body)), becomes: 'whole' },
  {
    name: 'content in gzip, in chunks',
    behaviour: labelled('gzip', (body) => gzipSync(body), 'chunks'),
    becomes: 'whole',
  },
  { name: 'wrong bytes labelled gzip', behaviour: labelled('gzip', (body) => body.map((byte) => byte ^ 1)) },
  { name: 'other bytes in gzip', behaviour: labelled('gzip', (body) => gzipSync(body.map((byte) => byte ^ 1))) },
  { name: 'content in gzip without a label', behaviour: labelled(undefined, (body) => gzipSync(body)) },
  { name: 'a bomb of 256 MiB in gzip', behaviour: labelled('gzip', () => BOMB) },
  { name: 'a bomb of 256 MiB in gzip, in chunks', behaviour: labelled('x-gzip', () => BOMB, 'chunks') },
  { name: 'a second answer', behaviour: answerTwice, becomes: 'either' },
  {
    name: '100 Continue, 50 times',
    behaviour: raw(status('100 Continue').repeat(50) + `${WHOLE}BODY`),
    becomes: 'either',
  },
  {
    name: '103 Early Hints of 8 KiB each',
    behaviour: raw(status('103 Early Hints', `Link: <${'x'.repeat(8 * KIB)}>`).repeat(100) + `${WHOLE}BODY`),
    becomes: 'either',
  },
  { name: '100 Continue, 10 000 times', behaviour: raw(status('100 Continue').repeat(10_000) + `${WHOLE}BODY`) },
  { name: '100 Continue for ever', behaviour: endless('', status('100 Continue')) },
  {
    name: 'an upgrade',
    behaviour: raw(status('101 Switching Protocols', 'Upgrade: websocket', 'Connection: upgrade')),
  },
  { name: 'an early end', behaviour: raw('HTTP/1.1 200') },
  { name: 'nothing', behaviour: raw('') },
  { name: 'a preface of HTTP/2', behaviour: raw('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n') },
  { name: 'another protocol', behaviour: raw('SSH-2.0-OpenSSH_9.2\r\n') },
  { name: 'a status of 999', behaviour: raw(status('999 What', 'Content-Length: 0')) },
  { name: 'a status of 0', behaviour: raw(status('000 Zero', 'Content-Length: 0')) },
  { name: 'no content', behaviour: raw(status('204 No Content')) },
  { name: 'not modified', behaviour: raw(status('304 Not Modified')) },
  {
    name: 'an unrequested part',
    behaviour: raw(`${status('206 Partial Content', 'Content-Range: bytes 0-9/3000', 'Content-Length: 10')}0123456789`),
  },
  { name: 'NUL in a header', behaviour: raw(status('200 OK', 'X: a\0b', 'Content-Length: 0')) },
  { name: 'folded headers', behaviour: raw(status('200 OK', 'X: a\r\n b', 'Content-Length: 0')) },
];

export const HOSTILE_ANSWERS: Fault = {
  id: 'F10',
  what: 'The registry sends headers of 10 MiB, manifests of 1 GiB or of 4 MiB of brackets, broken chunks, answers without a request, a false Content-Encoding, encoded content, gzip bombs, endless interim answers, or bytes that are not HTTP.',
  expected:
    'The client gets a visible failure, or the right bytes if the registry sent them, encoded or with a false Content-Encoding. Memory grows by at most 32 MiB (with a heap of 64 MiB, so that garbage that V8 has not collected yet counts little).',
  run: async (bench) => {
    const violations: string[] = [];
    const registry = await bench.startRegistry({ auth: 'basic' });
    const timeouts = { headersSeconds: 2, idleSeconds: 2 };
    const service = await bench.startService({
      registry,
      settings: { registry: { timeouts } },
      environment: { NODE_OPTIONS: HEAP_LIMITS },
    });
    // Only memory beyond that of ordinary requests counts.
    const ordinary = Array.from({ length: 300 }, () => makeImage([bench.random.bytes(PACKAGE_BYTES)]));
    registry.publish(...ordinary);
    await swarm(ordinary, AT_ONCE, (image) => service.get(image));
    const before = residentBytes(service.pid);
    resetPeak(service.pid);

    const attacks = attacksOf(bench, service);
    const { gots, violations: wrong } = await runTrials(registry, attacks, AT_ONCE);
    violations.push(...wrong);
    const growth = peakBytes(service.pid) - before;
    if (growth > MAX_PEAK_GROWTH) violations.push(`memory grew by ${mib(growth)}`);
    const refusals = gots.filter(({ verdict }) => verdict === 'refused').length;
    return {
      injected: attacks.length,
      figures: `${String(HOSTILITIES.length + 1)} kinds: ${String(refusals)} refused, ${String(gots.length - refusals)} whole; memory grew by ${mib(growth)}`,
      violations,
    };
  },
};

function attacksOf({ random, times }: FaultBench, service: FaultedService): (() => Trial)[] {
  const image = (): TestImage => makeImage([random.bytes(PACKAGE_BYTES)]);
  return Array.from({ length: times(2, 50) }, () => [
    ...HOSTILITIES.map((hostility) => {
      const place = hostility.place ?? random.pick(['manifest', 'blob'] as const);
      const trial: Trial = {
        name: `${hostility.name} as ${place}`,
        service,
        image: image(),
        place,
        failpoint: (exchange) => (exchange.place === place ? hostility.behaviour : undefined),
        allowed: (got) => badEnd(got, hostility.becomes ?? 'failed'),
      };
      return () => trial;
    }),
    () => bracketTrial(service, withManifest(image(), brackets(random.between(1, 9)))),
  ]).flat();
}

/** The image itself is the attack. */
function bracketTrial(service: FaultedService, image: TestImage): Trial {
  const allowed = (got: Got): string | undefined => badEnd(got, 'failed');
  return { name: 'a manifest of brackets', service, image, place: 'manifest', failpoint: () => undefined, allowed };
}

/** The service refuses the answer before the client gets a byte of the body. */
function badEnd(got: Got, becomes: Allowed): string | undefined {
  const isWrongRefusal = got.verdict === 'cut' || (got.verdict === 'refused' && ![404, 502, 504].includes(got.status));
  return isWrongRefusal ? `${got.verdict}, status ${String(got.status)}: ${got.why}` : unexpected(got, becomes);
}

/** The digest is right; only the depth or the breadth of the document is wrong. */
function brackets(kind: number): TestBlob {
  const half = 2 * MIB - KIB;
  const text = kind % 2 === 0 ? '['.repeat(half) + ']'.repeat(half) : `[${'{},'.repeat(Math.floor(half / 2))}{}]`;
  return makeBlob('application/vnd.oci.image.manifest.v1+json', Buffer.from(`${' '.repeat(kind)}${text}`));
}

function withManifest(image: TestImage, manifest: TestBlob): TestImage {
  return { ...image, manifest, digest: manifest.descriptor.digest };
}

/** The body that `change` returns, with this Content-Encoding if there is one. */
function labelled(
  label: string | undefined,
  change: (body: Uint8Array) => Uint8Array,
  framing: 'length' | 'chunks' = 'length',
): Behaviour {
  return answering(({ body: honest }) => {
    const body = change(honest);
    const frame = framing === 'length' ? { 'content-length': body.byteLength } : { 'transfer-encoding': 'chunked' };
    return { headers: label === undefined ? frame : { 'content-encoding': label, ...frame }, body };
  });
}

/** Sends as long as the client reads. */
function endless(head: string, piece: string): Behaviour {
  return ({ response: { socket } }: Exchange) => {
    if (socket === null) return;
    const some = Buffer.from(piece.repeat(Math.ceil((64 * KIB) / piece.length)));
    const pump = (): void => {
      while (!socket.destroyed && socket.write(some));
    };
    socket.on('drain', pump);
    socket.write(head);
    pump();
  };
}

function answerTwice(exchange: Exchange): void {
  const { body } = exchange.honest;
  const head = (length: number): string => status('200 OK', `Content-Length: ${String(length)}`);
  exchange.response.socket?.write(
    Buffer.concat([Buffer.from(head(body.byteLength)), body, Buffer.from(`${head(6)}forged`)]),
  );
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(0)} MiB`;
}
