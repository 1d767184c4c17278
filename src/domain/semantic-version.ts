/** Semantic versions in tags: `v`, and the second and third number, are optional (semver.org 2.0.0, section 11). */
import { isTag, type Tag } from './reference.ts';

interface SemanticVersion {
  /** Major, minor and patch without leading zeros; omitted numbers are 0. */
  readonly numbers: readonly string[];
  /** Empty for a release. */
  readonly preRelease: readonly string[];
}

const VERSION = /^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?$/;

/** Returns whether a text is a tag and a version. A tag cannot hold a `+`, so there is no build metadata. */
export function isVersionTag(text: string): text is Tag {
  return isTag(text) && VERSION.test(text);
}

/**
 * Returns the tag of the highest version, pre-releases included; undefined if no tag is a version. The first one wins among
 * equals.
 */
export function latestOf(tags: readonly string[]): Tag | undefined {
  let latest: { readonly tag: Tag; readonly version: SemanticVersion } | undefined;
  for (const tag of tags) {
    if (!isVersionTag(tag)) continue;
    const version = parse(tag);
    if (latest === undefined || compare(version, latest.version) > 0) latest = { tag, version };
  }
  return latest?.tag;
}

function parse(tag: Tag): SemanticVersion {
  const [, major, minor, patch, preRelease = ''] = VERSION.exec(tag) ?? [];
  const numbers = [major, minor, patch].map((digits = '0') => withoutZeros(digits));
  return { numbers, preRelease: preRelease === '' ? [] : preRelease.split('.') };
}

function compare(one: SemanticVersion, other: SemanticVersion): number {
  for (const [index, number] of one.numbers.entries()) {
    const difference = compareNumbers(number, other.numbers[index] ?? '0');
    if (difference !== 0) return difference;
  }
  // A release comes after its pre-releases.
  if (one.preRelease.length === 0 || other.preRelease.length === 0) {
    return other.preRelease.length - one.preRelease.length;
  }
  for (const [index, identifier] of one.preRelease.entries()) {
    const against = other.preRelease[index];
    if (against === undefined) return 1;
    const difference = compareIdentifiers(identifier, against);
    if (difference !== 0) return difference;
  }
  return one.preRelease.length - other.preRelease.length;
}

/** Compares identifiers; numbers precede words. */
function compareIdentifiers(one: string, other: string): number {
  const [isNumber, isOtherNumber] = [/^\d+$/.test(one), /^\d+$/.test(other)];
  if (isNumber && isOtherNumber) return compareNumbers(withoutZeros(one), withoutZeros(other));
  if (isNumber !== isOtherNumber) return isNumber ? -1 : 1;
  return one === other ? 0 : one < other ? -1 : 1;
}

/** Compares numbers of any length, because dates and build numbers exceed the integers of JavaScript. */
function compareNumbers(one: string, other: string): number {
  if (one.length !== other.length) return one.length - other.length;
  return one === other ? 0 : one < other ? -1 : 1;
}

function withoutZeros(digits: string): string {
  return digits.replace(/^0+(?=\d)/, '');
}
