/** Looks up host names in the hosts file, then by DNS. One lookup runs for each name, and none uses libuv's threads. */
import { promises as dns } from 'node:dns';
import { errnoOf } from '../../../domain/errors.ts';
import { ConnectFault } from '../upstream-errors.ts';
import { parseHosts, parseResolvConf, type ResolverSettings, WatchedFile } from './name-files.ts';

export interface Addresses {
  /** The addresses, IPv6 first (RFC 8305, section 4); never empty. */
  readonly addresses: readonly string[];
  /** Whether the addresses come from the hosts file or from the name itself (`localhost`), not from a name server. */
  readonly isLocal: boolean;
}

interface NamesOptions {
  /** The limit for one name, in milliseconds. */
  readonly timeoutMs: number;
  readonly hostsFile?: string;
  readonly resolvConf?: string;
}

/** An answer is used again for this time. */
const ANSWER_MS = 5000;
/** A temporary failure is remembered for a shorter time than a request is retried. */
const PASSING_FAILURE_MS = 1000;
/** Limits the memory, because names also come from redirects and realms. */
const MAX_KNOWN_NAMES = 1000;
/** The wait for the other address family after the first has answered (RFC 8305, section 3). */
const OTHER_FAMILY_MS = 50;
/** The limit of a name is divided into shares for the first server, a second attempt or server, and the search list. */
const TIME_SHARES = 4;

interface KnownName {
  readonly answer: Promise<readonly string[]>;
  /** The time of expiry on the monotonic clock; Infinity while the lookup runs. */
  until: number;
}

export class Names {
  readonly #timeoutMs: number;
  readonly #hosts: WatchedFile<ReturnType<typeof parseHosts>>;
  readonly #settings: WatchedFile<ResolverSettings>;
  readonly #known = new Map<string, KnownName>();
  /**
   * The first resolver asks all servers, the second all but the first, and so on, because c-ares tells apart only answers and
   * silence: it asks no further server after SERVFAIL or REFUSED. They are used until resolv.conf changes, because c-ares
   * remembers which server is silent.
   */
  #resolvers: { readonly settings: ResolverSettings; readonly dns: readonly dns.Resolver[] } | undefined;

  constructor({ timeoutMs, hostsFile = '/etc/hosts', resolvConf = '/etc/resolv.conf' }: NamesOptions) {
    this.#timeoutMs = timeoutMs;
    this.#hosts = new WatchedFile(hostsFile, parseHosts);
    this.#settings = new WatchedFile(resolvConf, parseResolvConf);
  }

  /** Rejects with ConnectFault: ENOTFOUND (the name does not exist), EAI_AGAIN (temporary failure) or ETIMEDOUT. */
  async resolve(host: string): Promise<Addresses> {
    const name = host.toLowerCase();
    const plain = name.replace(/\.$/, '');
    const listed = this.#hosts.content.get(plain);
    if (listed !== undefined) return { addresses: listed, isLocal: true };
    // RFC 6761, section 6.3.
    if (/(^|\.)localhost$/.test(plain)) return { addresses: ['::1', '127.0.0.1'], isLocal: true };
    return { addresses: await this.#remembered(name), isLocal: false };
  }

  #remembered(name: string): Promise<readonly string[]> {
    const known = this.#known.get(name);
    if (known !== undefined && known.until > performance.now()) return known.answer;
    const entry: KnownName = { answer: this.#bounded(name), until: Infinity };
    this.#known.delete(name);
    this.#makeRoom();
    this.#known.set(name, entry);
    entry.answer.then(
      () => {
        entry.until = performance.now() + ANSWER_MS;
      },
      (error: unknown) => {
        const isPassing = error instanceof ConnectFault && error.code === 'EAI_AGAIN';
        entry.until = performance.now() + (isPassing ? PASSING_FAILURE_MS : ANSWER_MS);
      },
    );
    return entry.answer;
  }

  #makeRoom(): void {
    if (this.#known.size < MAX_KNOWN_NAMES) return;
    for (const [name, { until }] of this.#known) {
      if (until === Infinity) continue;
      this.#known.delete(name);
      return;
    }
  }

  /** Looks the name up within its time limit, and sends no query afterwards. */
  async #bounded(name: string): Promise<readonly string[]> {
    const { promise: expired, reject } = Promise.withResolvers<never>();
    const ended = new AbortController();
    const timer = setTimeout(() => {
      reject(ConnectFault.timeout(`no answer to a lookup of ${name}`));
    }, this.#timeoutMs);
    try {
      return await Promise.race([this.#search(name, ended.signal), expired]);
    } finally {
      clearTimeout(timer);
      ended.abort();
    }
  }

  async #search(name: string, ended: AbortSignal): Promise<readonly string[]> {
    const settings = this.#settings.content;
    const resolvers = this.#resolversFor(settings);
    const failures: unknown[] = [];
    for (const candidate of candidates(name, settings)) {
      if (ended.aborted) break;
      try {
        return await answerOf(resolvers, candidate, ended);
      } catch (error) {
        failures.push(error);
      }
    }
    const passing = failures.find((error) => !isFinal(error));
    if (passing === undefined) throw new ConnectFault('ENOTFOUND', `no address of ${name}`);
    if (errnoOf(passing) === 'ETIMEOUT') throw ConnectFault.timeout(`no answer to a lookup of ${name}`);
    throw new ConnectFault('EAI_AGAIN', `lookup of ${name} failed (${errnoOf(passing) ?? 'unknown error'})`);
  }

  #resolversFor(settings: ResolverSettings): readonly dns.Resolver[] {
    if (this.#resolvers?.settings === settings) return this.#resolvers.dns;
    const { servers } = settings;
    const timeout = Math.max(1, Math.ceil(this.#timeoutMs / TIME_SHARES));
    const resolvers = Array.from({ length: Math.max(1, servers.length) }, (_, first) => {
      const resolver = new dns.Resolver({ timeout, tries: 2, maxTimeout: 2 * timeout });
      if (servers.length > 0) resolver.setServers(servers.slice(first));
      return resolver;
    });
    this.#resolvers = { settings, dns: resolvers };
    return resolvers;
  }
}

/** The names to query, according to `ndots` of resolv.conf(5). A name with a final dot is absolute. */
function candidates(name: string, { search, ndots }: ResolverSettings): string[] {
  if (name.endsWith('.')) return [name.slice(0, -1)];
  const searched = search.map((domain) => `${name}.${domain}`);
  return name.split('.').length > ndots ? [name, ...searched] : [...searched, name];
}

/** Asks the next server when one fails (SERVFAIL, REFUSED, …). After ETIMEOUT, all of them have been silent. */
async function answerOf(resolvers: readonly dns.Resolver[], name: string, ended: AbortSignal): Promise<string[]> {
  let failure: unknown;
  for (const resolver of resolvers) {
    try {
      return await addressesOf(resolver, name);
    } catch (error) {
      failure = error;
      if (ended.aborted || isFinal(error) || errnoOf(error) === 'ETIMEOUT') break;
    }
  }
  throw failure;
}

/** Queries both address families. A server that ignores queries for one of them does not delay the other. */
async function addressesOf(resolver: dns.Resolver, name: string): Promise<string[]> {
  const found: string[][] = [[], []];
  const failures: unknown[] = [];
  const asked = [resolver.resolve6(name), resolver.resolve4(name)].map((answer, family) =>
    answer.then(
      (addresses) => {
        found[family] = addresses;
        return addresses.length > 0;
      },
      (error: unknown) => {
        failures.push(error);
        return false;
      },
    ),
  );
  if (await Promise.race(asked)) await within(OTHER_FAMILY_MS, Promise.all(asked));
  else await Promise.all(asked);
  const addresses = found.flat();
  if (addresses.length > 0) return addresses;
  throw asError(failures.find((error) => !isFinal(error)) ?? failures[0]);
}

async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(resolve, ms, undefined);
  await Promise.race([work, promise]);
  clearTimeout(timer);
}

function asError(failure: unknown): Error {
  return failure instanceof Error ? failure : new ConnectFault('ENOTFOUND', 'no address');
}

/** Whether the name does not exist, has no address of this family, or is invalid. */
function isFinal(error: unknown): boolean {
  return ['ENOTFOUND', 'ENODATA', 'EBADNAME'].includes(errnoOf(error) ?? '');
}
