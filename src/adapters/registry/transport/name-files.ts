/** The files that configure the lookup of names, hosts(5) and resolv.conf(5); they are read again when they change. */
import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';

export interface ResolverSettings {
  /** The servers in the format of `dns.setServers`; empty for the defaults of c-ares. */
  readonly servers: readonly string[];
  readonly search: readonly string[];
  /** A name with at least this many dots is looked up unchanged before the search list is used. */
  readonly ndots: number;
}

const MAX_NDOTS = 15;
/** A change is noticed at most this long after it. */
const LOOK_INTERVAL_MS = 1000;

/** The addresses of each name in lower case. All lines with a name count, as in glibc and musl. */
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

/** An address, optionally with a port: `192.0.2.1:5353`, `[2001:db8::1]:5353`. */
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
 * The current content of a small file. It is read in the event loop, because libuv's threads can wait for a hanging disk of
 * the cache, and a lookup must not wait for them.
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

  /** The parsed content: the same object while the file is unchanged. If the file cannot be read, it counts as empty. */
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
