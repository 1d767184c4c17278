/** Generates requests from a grammar, most of them nearly valid, and damages some of them at random. */
import type { Digest } from '../../../src/domain/descriptor.ts';
import type { Random } from './random.ts';

export interface GeneratedRequest {
  readonly bytes: string;
  /** Whether the request was damaged. Then its end and its method are unknown. */
  readonly isMangled: boolean;
}

const METHODS = [
  'GET',
  'GET',
  'GET',
  'GET',
  'GET',
  'GET',
  'HEAD',
  'HEAD',
  'POST',
  'OPTIONS',
  'DELETE',
  'PROPFIND',
  'get',
  'X',
];
const PATHS = [
  '/package',
  '/package',
  '/package',
  '/package',
  '/manifest',
  '/healthz',
  '/readyz',
  '/metrics',
  '/',
  '//package',
  '/package/',
  '/x',
];
const VERSIONS = ['HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/2.0', 'HTTP/1.2', 'http/1.1', ''];
const NAMES = [
  'digest',
  'digest',
  'digest',
  'repository',
  'path',
  'foo',
  '',
  'd%69gest',
  '__proto__',
  'Digest',
  'digest[]',
];
const HOSTS = ['a', '127.0.0.1:5080', '[::1]', '', 'a, b', 'a/b', 'a@b', '[::1', 'evil.example:99999'];
const WORDS = [
  'a',
  'a/b',
  '..',
  '.',
  '%2e%2e',
  '/',
  '%2f',
  '%00',
  '%0d%0a',
  '%',
  '%zz',
  ';',
  '&',
  '=',
  '+',
  '#',
  '?',
  '@',
  ':',
  '\\',
  '"',
  '%ff',
  '%c0%af',
  '__proto__',
  'http://evil.example',
  '169.254.169.254',
  '[::1]:2379',
  'a'.repeat(300),
];
const NUMBERS = ['0', '1', '999', '1000', '1001', '', '-1', '00', '9007199254740993', '9'.repeat(40), 'a', ' '];
const TAGS = ['"x"', 'W/"x"', '*', '', '"', 'W/', 'x', ','];
const LINES = [
  ...[
    'Accept: application/json',
    'Accept: */*',
    'Accept: ;q=',
    'X-Request-Id: a',
    'X-Request-Id: "',
    'Connection: close',
  ],
  ...[
    'Connection: keep-alive',
    'Connection: upgrade',
    'Upgrade: h2c',
    'Expect: 100-continue',
    'Expect: x',
    'TE: trailers',
  ],
  ...[
    'Content-Length: 0',
    'Content-Length: 5',
    'Content-Length: +1',
    'Transfer-Encoding: chunked',
    'Transfer-Encoding: x',
  ],
  ...[
    'Host: b',
    'X-Forwarded-For: 1.2.3.4',
    'X-Forwarded-For: "',
    'Authorization: Bearer canary-x',
    'Cookie: a=b',
    'A : b',
    ' A: b',
  ],
  ...['If-Modified-Since: x', 'Cache-Control: no-cache', 'Range: bytes=0-0', '__proto__: a', `A: ${'b'.repeat(5000)}`],
];
const SPLINTERS = [
  '\r\n',
  '\r\n\r\n',
  '\n',
  '\r',
  '\0',
  ' ',
  '\t',
  ':',
  '%',
  '\xff',
  'GET / HTTP/1.1\r\n',
  'Content-Length: 1\r\n',
  '0\r\n\r\n',
];

/** One request in three is damaged. `known` is the digest of a cached package of 1000 bytes. */
export function generateRequest(random: Random, known: Digest, unknown: readonly Digest[]): GeneratedRequest {
  const digests = [known, known, known, ...unknown, known.toUpperCase(), known.slice(1), known.replace(':', '%3A')];
  const value = (name: string): string =>
    name.startsWith('dig') && random.chance(0.8) ? random.pick(digests) : some(random, 3, () => random.pick(WORDS));
  const pair = (): string => {
    const name = random.pick(NAMES);
    return `${name}${random.chance(0.95) ? '=' : ''}${value(name)}`;
  };
  const query = random.chance(0.5) ? `digest=${known}` : some(random, 4, pair, '&');
  const target = `${random.pick(PATHS)}${random.chance(0.9) ? '?' : ''}${query}`;
  const lines = [
    `${random.pick(METHODS)} ${target} ${random.pick(VERSIONS)}`,
    ...(random.chance(0.97) ? [`Host: ${random.chance(0.9) ? 'a' : random.pick(HOSTS)}`] : []),
    ...(random.chance(0.4) ? [`Range: bytes=${some(random, 3, () => rangeOf(random), ',')}`] : []),
    ...(random.chance(0.2) ? [`If-Range: ${random.chance(0.5) ? `"${known}"` : random.pick(TAGS)}`] : []),
    ...(random.chance(0.2)
      ? [`If-None-Match: ${random.chance(0.5) ? `"${known}"` : some(random, 4, () => random.pick(TAGS), ', ')}`]
      : []),
    ...(random.chance(0.3) ? [some(random, 3, () => random.pick(LINES), '\r\n')].filter((text) => text !== '') : []),
  ];
  const whole = `${lines.join('\r\n')}\r\n\r\n`;
  if (random.chance(2 / 3)) return { bytes: whole, isMangled: false };
  return { bytes: mangle(random, whole), isMangled: true };
}

function rangeOf(random: Random): string {
  return `${random.pick(NUMBERS)}-${random.pick(NUMBERS)}`;
}

function some(random: Random, atMost: number, make: () => string, separator = ''): string {
  return Array.from({ length: random.between(0, atMost + 1) }, make).join(separator);
}

function mangle(random: Random, text: string): string {
  let mangled = text;
  for (let times = random.between(1, 4); times > 0; times--) {
    const at = random.between(0, mangled.length + 1);
    const behind = Math.min(mangled.length, at + random.between(0, 20));
    const [before, part, rest] = [mangled.slice(0, at), mangled.slice(at, behind), mangled.slice(behind)];
    mangled = random.pick([
      before + rest,
      before,
      before + part + part + rest,
      before + random.pick(SPLINTERS) + part + rest,
      before + String.fromCharCode(random.between(0, 256)) + part.slice(1) + rest,
      before + part.toUpperCase() + rest,
    ]);
  }
  return mangled;
}
