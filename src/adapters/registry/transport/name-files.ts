/** The files that say how names are looked up: hosts(5) and resolv.conf(5), read again when they change. */
import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';

export interface ResolverSettings {
  /** As `dns.setServers` takes them; empty for those of c-ares. */
  readonly servers: readonly string[];
  readonly search: readonly string[];
  /** A name with at least so many dots is asked for as it is before the search list. */
  readonly ndots: number;
}

const MAX_NDOTS = 15;
/** A change is noticed so late. */
const LOOK_INTERVAL_MS = 1000;

/** The addresses of each name, in lower case. All lines of a name count, as with glibc and musl. */
export function parseHosts(text: string): ReadonlyMap<string, readonly string[]> {
  const hosts = new Map<string, string[]>();
  for (const [address = '', ...names] of fieldsOf(text, /#.*/)) {
    if (isIP(address) === 0) continue;
    for (const name of names) {
      const known = hosts.get(name.toLowerCase()) ?? [];
      hosts.set(name.toLowerCase(), [...new Set([...known, address])]);
    }
  }
  return hosts;
}

/** The last of several `search` and `domain` lines counts. */
export function parseResolvConf(text: string): ResolverSettings {
  const servers: string[] = [];
  let search: string[] = [];
  let ndots = 1;
  for (const [keyword, ...values] of fieldsOf(text, /[#;].*/)) {
    const [first = ''] = values;
    if (keyword === 'nameserver' && isServer(first)) servers.push(first);
    else if (keyword === 'search') search = values;
    else if (keyword === 'domain') search = [first];
    else if (keyword === 'options') {
      const option = values.findLast((value) => /^ndots:\d+$/.test(value));
      if (option !== undefined) ndots = Math.min(MAX_NDOTS, Number(option.slice('ndots:'.length)));
    }
  }
  const domains = search.map((domain) => domain.replace(/^\.+|\.+$/g, '')).filter((domain) => domain !== '');
  return { servers, search: domains, ndots };
}

/** An address, or one with a port: `192.0.2.1:5353`, `[2001:db8::1]:5353`. */
function isServer(text: string): boolean {
  const [, inBrackets, beforePort] = /^(?:\[([^\]]+)\]|([^:]+)):\d{1,5}$/.exec(text) ?? [];
  return isIP(inBrackets ?? beforePort ?? text) !== 0;
}

function fieldsOf(text: string, comment: RegExp): string[][] {
  return text
    .split('\n')
    .map((line) => line.replace(comment, '').trim())
    .filter((line) => line !== '')
    .map((line) => line.split(/\s+/));
}

/**
 * A small file as it is now. It is read in the event loop: a lookup must not wait for libuv's threads, which wait for the
 * disk of the cache when that hangs.
 */
export class WatchedFile<Content> {
  readonly #path: string;
  readonly #parse: (text: string) => Content;
  #version = '';
  #lookedAt = -Infinity;
  #content: Content;

  constructor(path: string, parse: (text: string) => Content) {
    this.#path = path;
    this.#parse = parse;
    this.#content = parse('');
  }

  /** The same object for as long as the file stays the same; that of an empty text when it cannot be read. */
  get content(): Content {
    const now = performance.now();
    if (now - this.#lookedAt < LOOK_INTERVAL_MS) return this.#content;
    this.#lookedAt = now;
    try {
      const { ino, mtimeMs, size } = statSync(this.#path);
      const version = [ino, mtimeMs, size].join(' ');
      if (version === this.#version) return this.#content;
      this.#content = this.#parse(readFileSync(this.#path, 'utf8'));
      this.#version = version;
    } catch {
      if (this.#version !== '') this.#content = this.#parse('');
      this.#version = '';
    }
    return this.#content;
  }
}
