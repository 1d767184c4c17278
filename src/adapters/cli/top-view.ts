/** A reading of `top` as text: one line for a file, or a frame for a terminal. */
import { formatBytes, formatSeconds, printable } from './format.ts';
import { hitRate, type Running, type RunningDownload, type Sample, secondsBetween } from './top-sample.ts';

interface Frame {
  readonly columns: number;
  readonly rows: number;
  readonly isColoured: boolean;
}

const BAR = 10;
/** The largest number of failures while downloads need the room. */
const MOST_FAILURES = 5;
/** The length of a shortened digest. */
const SHORT_DIGEST = 'sha256:'.length + 12;

/** Returns one line, for a pipe or a file. */
export function plainLine(sample: Sample): string {
  const time = clock(sample.at);
  if (sample.state === 'away') return `${time}  no answer: ${oneLine(sample.error)}`;
  return [
    time,
    ...(sample.state === 'restarted' ? ['restarted'] : []),
    ...notReady(sample),
    `requests ${requests(sample).join(', ')}`,
    failed(sample),
    `downloads ${downloads(sample).join(', ')}`,
    `cache ${cache(sample).join(' ')}`,
  ].join('  ');
}

/** Returns as many lines as the terminal has, none wider than it. `shown` is the last reading with an answer. */
export function picture(sample: Sample, shown: Running, frame: Frame): string[] {
  const paint = painter(frame);
  return [...head(sample, shown, frame, paint), ...body(shown, frame, paint)].slice(0, frame.rows);
}

type Paint = (style: keyof typeof STYLES, text: string) => string;

const STYLES = { bold: 1, red: 31, green: 32 };

function painter({ isColoured }: Frame): Paint {
  return (style, text) => (isColoured ? `\x1b[${String(STYLES[style])}m${text}\x1b[0m` : text);
}

function head(sample: Sample, { service, at }: Running, frame: Frame, paint: Paint): string[] {
  const { node, pod, version, started_at } = service;
  const up = `up ${formatSeconds(secondsBetween(started_at, at))}`;
  const fields = [node ?? new URL(sample.url).host, pod ?? '', version, up, clock(sample.at)];
  return [paint('bold', fit(fields.map(oneLine), frame)), stateLine(sample, frame, paint)];
}

function stateLine(sample: Sample, frame: Frame, paint: Paint): string {
  const hint = 'q quits';
  if (sample.state === 'away') return paint('red', fit(['no answer', oneLine(sample.error)], frame, true));
  const reasons = notReady(sample);
  const restarted = sample.state === 'restarted' ? ['restarted: counts begin anew'] : [];
  if (reasons.length > 0) return paint('red', fit([...reasons, ...restarted, hint], frame, true));
  return paint('green', fit(['ready', ...restarted, hint], frame));
}

function body(shown: Running, frame: Frame, paint: Paint): string[] {
  const fixed = [
    '',
    row('requests', [...requests(shown), failed(shown)], frame),
    row('last hour', lastHour(shown), frame),
    row('cache', [...cache(shown), ...evictions(shown)], frame),
    row('downloads', downloads(shown), frame),
  ];
  // Two lines are above the lists.
  const room = Math.max(0, frame.rows - fixed.length - 2);
  const failures = shown.failures.slice(0, MOST_FAILURES).map((one) => failure(one, frame));
  const failing = failures.length === 0 ? [] : ['', paint('bold', fit(['last failures'], frame)), ...failures];
  const list = shown.downloads.list.map((one) => downloadLine(one, shown.at, frame));
  const forList = Math.max(0, room - failing.length);
  const rest = list.length - forList;
  const arriving =
    rest <= 0 ? list : [...list.slice(0, Math.max(0, forList - 1)), fit([`… and ${String(rest + 1)} more`], frame)];
  return [...fixed, ...arriving, ...failing];
}

/** Puts the labels into one column. */
function row(label: string, fields: readonly string[], frame: Frame): string {
  const [first = '', ...rest] = fields;
  return fit([`${label.padEnd('downloads'.length)}  ${first}`, ...rest], frame);
}

function notReady({ service: { ready, missing } }: Running): string[] {
  return ready ? [] : [`not ready: ${oneLine(missing.join('; '))}`];
}

/** Since the last reading; in the first one, since the start. */
function requests({ interval, outcomes }: Running): string[] {
  if (interval === null) {
    const { hit: hits, miss, joined, bypass } = outcomes;
    const others = miss + joined + bypass;
    return [`${String(hits + others)} since the start`, rate({ hits, others })];
  }
  const { seconds, hits, misses, joined, bypasses, bytes } = interval;
  const others = misses + joined + bypasses;
  const each = (count: number): number => (seconds > 0 ? count / seconds : 0);
  return [`${each(hits + others).toFixed(1)}/s`, rate({ hits, others }), `sent ${formatBytes(each(bytes))}/s`];
}

function failed({ interval, last_hour }: Running): string {
  return interval === null
    ? `${String(last_hour.failures)} failed in the last hour`
    : `${String(interval.failures)} failed`;
}

function lastHour({ last_hour: { hits, misses, failures, bytes } }: Running): string[] {
  const all = `${String(hits + misses)} packages`;
  return [all, rate({ hits, others: misses }), `sent ${formatBytes(bytes)}`, `${String(failures)} failed`];
}

function rate(counts: { readonly hits: number; readonly others: number }): string {
  const part = hitRate(counts);
  return part === undefined ? 'hits -' : `hits ${percent(part, 1)}`;
}

function cache({ cache: { bytes, max_bytes } }: Running): string[] {
  if (max_bytes === 0) return ['off'];
  return [
    `${bar(bytes / max_bytes)} ${percent(bytes / max_bytes)}`,
    `${formatBytes(bytes)} of ${formatBytes(max_bytes)}`,
  ];
}

function evictions({ cache: { blobs, evicted, damaged, limit_bytes, max_bytes } }: Running): string[] {
  const limit = limit_bytes < max_bytes ? [`the volume has room for ${formatBytes(limit_bytes)}`] : [];
  return [...limit, `${String(blobs)} blobs`, `${String(evicted)} evicted`, `${String(damaged)} damaged`];
}

function downloads({ downloads: { running, max, queued, idle, list } }: Running): string[] {
  const speed = list.reduce((all, { bytes_per_second }) => all + (bytes_per_second ?? 0), 0);
  const waiting = list.reduce((all, { clients }) => all + clients, 0);
  return [
    `${String(running)} of ${String(max)}`,
    `${formatBytes(speed)}/s`,
    `${String(waiting)} waiting`,
    `${String(queued)} queued`,
    ...(idle > 0 ? [`${String(idle)} idle`] : []),
  ];
}

/** The name comes last and gets the rest of the line, because the other fields have fixed widths. */
function downloadLine(download: RunningDownload, now: string, frame: Frame): string {
  const { bytes, size, clients, queued, bytes_per_second: speed, repository, path, digest, received_at } = download;
  const part = size === 0 ? 1 : bytes / size;
  const silence = received_at === null ? 0 : secondsBetween(received_at, now);
  const state = queued ? 'queued' : silence >= 3 ? `silent ${formatSeconds(silence)}` : `${formatBytes(speed ?? 0)}/s`;
  const left = speed === null || speed <= 0 ? '' : `${formatSeconds((size - bytes) / speed)} left`;
  // A path is shown alone, because the full name seldom fits.
  const name = [path ?? repository, digest.slice(0, SHORT_DIGEST)].filter(Boolean).join(' ');
  const fields = [
    `  ${bar(part)} ${percent(part).padStart(5)}`,
    state.padStart(12),
    `${String(clients).padStart(3)} waiting`,
    left.padEnd(14),
    oneLine(name),
  ];
  return fit(fields, frame, true);
}

function failure(failed: Running['failures'][number], frame: Frame): string {
  const { last_at, count, status, detail, repository, path, digest } = failed;
  const name = [repository, path].filter(Boolean).join('/');
  const of = [name, digest?.slice(0, SHORT_DIGEST)].filter(Boolean).join(' ');
  const fields = [`  ${clock(last_at)}`, `${String(count)} ×`, String(status), oneLine(detail), oneLine(of)];
  return fit(fields, frame, true);
}

function bar(part: number): string {
  const full = Math.floor(Math.min(1, Math.max(0, part)) * BAR);
  return `[${'#'.repeat(full)}${'.'.repeat(BAR - full)}]`;
}

function percent(part: number, digits = 0): string {
  // The value is rounded down, so that only a complete download shows 100 %.
  const unit = 10 ** digits;
  return `${(Math.floor(part * 100 * unit) / unit).toFixed(digits)} %`;
}

function oneLine(text: string): string {
  return printable(text).replaceAll('\n', ' ');
}

/** Returns the time of day in UTC. */
function clock(time: string): string {
  return /T(\d\d:\d\d:\d\d)/.exec(time)?.[1] ?? oneLine(time);
}

/** Joins the fields that fit, in their order; with `isCut` the next one is cut instead of omitted. */
function fit(fields: readonly string[], { columns }: Frame, isCut = false): string {
  // The last column stays free, because some terminals would begin a new line.
  const room = Math.max(0, columns - 1);
  let line = '';
  for (const [index, field] of fields.filter((one) => one !== '').entries()) {
    const longer = index === 0 ? field : `${line}  ${field}`;
    if (longer.length <= room) line = longer;
    else return index === 0 || (isCut && room - line.length > 6) ? longer.slice(0, room) : line;
  }
  return line;
}
