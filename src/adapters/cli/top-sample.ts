/** One reading of a running service: its state, and the changes since the last reading. */
import type { ServiceStatus } from './service-status.ts';

/** The document of `top --json` (docs/schemas/top.schema.json). */
export type Sample = Running | Away;

export interface Running {
  /** `restarted`: another process answers than before, so the counts have begun again. */
  readonly state: 'running' | 'restarted';
  readonly url: string;
  /** The time of the service's clock. */
  readonly at: string;
  readonly service: Pick<ServiceStatus, 'version' | 'node' | 'pod' | 'started_at' | 'ready' | 'missing'>;
  readonly cache: ServiceStatus['cache'];
  readonly outcomes: ServiceStatus['outcomes'];
  /** Null in the first reading, and after a restart. */
  readonly interval: Interval | null;
  readonly last_hour: {
    readonly hits: number;
    readonly misses: number;
    readonly failures: number;
    readonly bytes: number;
  };
  readonly downloads: Omit<ServiceStatus['downloads'], 'list'> & { readonly list: readonly RunningDownload[] };
  readonly failures: ServiceStatus['failures'];
}

interface Away {
  readonly state: 'away';
  readonly url: string;
  /** The time of this machine's clock. */
  readonly at: string;
  readonly error: string;
}

/** The requests that ended since the last reading. */
interface Interval {
  readonly seconds: number;
  readonly hits: number;
  readonly misses: number;
  readonly joined: number;
  readonly bypasses: number;
  readonly failures: number;
  /** Counts the bytes of complete bodies. */
  readonly bytes: number;
}

export type RunningDownload = ServiceStatus['downloads']['list'][number] & {
  /** Since the last reading; for a new download, since its begin. Null while it is unknown. */
  readonly bytes_per_second: number | null;
};

export function sampleOf(url: string, now: ServiceStatus, last: ServiceStatus | undefined): Running {
  const isOther = last !== undefined && last.started_at !== now.started_at;
  const before = isOther ? undefined : last;
  const { version, node, pod, started_at, ready, missing, at, cache, outcomes, failures, downloads } = now;
  return {
    state: isOther ? 'restarted' : 'running',
    ...{ url, at },
    service: { version, node, pod, started_at, ready, missing },
    ...{ cache, outcomes },
    interval: before === undefined ? null : intervalOf(now, before),
    last_hour: sum(now.last_hour),
    downloads: {
      ...downloads,
      list: downloads.list.map((one) => ({ ...one, bytes_per_second: speedOf(one, now, before) })),
    },
    failures,
  };
}

/** The share of hits among all packages; undefined if there are no packages. */
export function hitRate({ hits, others }: { readonly hits: number; readonly others: number }): number | undefined {
  return hits + others === 0 ? undefined : hits / (hits + others);
}

function intervalOf(now: ServiceStatus, before: ServiceStatus): Interval {
  const grown = (name: keyof ServiceStatus['outcomes']): number =>
    Math.max(0, now.outcomes[name] - before.outcomes[name]);
  const minutes = new Map(before.last_hour.map((minute) => [minute.at, minute]));
  const { failures, bytes } = sum(
    now.last_hour
      // A minute that began after the last reading counts completely.
      .map((minute) => ({ minute, seen: minutes.get(minute.at) }))
      .map(({ minute, seen = { hits: 0, misses: 0, failures: 0, bytes: 0 } }) => ({
        hits: minute.hits - seen.hits,
        misses: minute.misses - seen.misses,
        failures: Math.max(0, minute.failures - seen.failures),
        bytes: Math.max(0, minute.bytes - seen.bytes),
      })),
  );
  const seconds = Math.max(0, secondsBetween(before.at, now.at));
  const outcomes = { hits: grown('hit'), misses: grown('miss'), joined: grown('joined'), bypasses: grown('bypass') };
  return { seconds, ...outcomes, failures, bytes };
}

type Counts = Running['last_hour'];

function sum(minutes: readonly Counts[]): Counts {
  const total = (name: keyof Counts): number => minutes.reduce((all, minute) => all + minute[name], 0);
  return { hits: total('hits'), misses: total('misses'), failures: total('failures'), bytes: total('bytes') };
}

type Download = ServiceStatus['downloads']['list'][number];

function speedOf(download: Download, now: ServiceStatus, before: ServiceStatus | undefined): number | null {
  const { layer, bytes, started_at, opened_at } = download;
  const seen = before?.downloads.list.find((one) => one.layer === layer && one.started_at === started_at);
  // A download that began again has fewer bytes than before.
  const from =
    before !== undefined && seen !== undefined && seen.bytes <= bytes
      ? { at: before.at, bytes: seen.bytes }
      : { at: opened_at, bytes: 0 };
  if (from.at === null) return null;
  const seconds = secondsBetween(from.at, now.at);
  return seconds > 0 ? (bytes - from.bytes) / seconds : null;
}

export function secondsBetween(from: string, to: string): number {
  return (Date.parse(to) - Date.parse(from)) / 1000;
}
