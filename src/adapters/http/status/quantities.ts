/** Sizes, times and counts for people. */
import { html, type Html } from './html.ts';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `12.4 MiB`: three digits, binary units. */
export function sizeText(bytes: number): string {
  // An amount that rounds to 1024 gets the next unit.
  const power = UNITS.findIndex((_, index) => bytes < 1023.5 * 1024 ** index || index === UNITS.length - 1);
  const value = bytes / 1024 ** power;
  const digits = power === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[power] ?? ''}`;
}

/** `1,204`. */
export function countText(count: number): string {
  return count.toLocaleString('en');
}

/** A share of the whole; 100 % only for all of it. */
export function shareText(part: number, whole: number): string {
  return `${String(whole === 0 ? 0 : Math.floor((100 * part) / whole))} %`;
}

const SPANS: [seconds: number, unit: string][] = [
  [86_400, 'd'],
  [3600, 'h'],
  [60, 'min'],
];

/** `3 min`: the largest unit of which there are at least two, so that `1 h` is `60 min`. */
export function spanText(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const [length, unit] = SPANS.find(([span]) => seconds >= 2 * span) ?? [1, 's'];
  return `${String(Math.floor(seconds / length))} ${unit}`;
}

/** `16:05:27`, in UTC as in the log. */
export function clockText(at: Date): string {
  return at.toISOString().slice(11, 19);
}

/** `3 min ago`, and the exact time for machines. */
export function ageOf(at: Date, now: Date): Html {
  const iso = at.toISOString();
  return html`<time datetime="${iso}" title="${iso}">${spanText(now.getTime() - at.getTime())} ago</time>`;
}
