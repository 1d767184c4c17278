/** Sentences for mistakes in settings: the expected value, the present one, and the correction of a value or of a name. */
import { didYouMean } from './command.ts';

/** An issue of the validator. */
interface RawIssue {
  readonly code?: unknown;
  readonly input?: unknown;
  readonly expected?: unknown;
  readonly values?: unknown;
  readonly origin?: unknown;
  readonly maximum?: unknown;
}

const NOUNS: Readonly<Record<string, string>> = {
  string: 'text',
  boolean: 'true or false',
  array: 'a list',
  object: 'a section of settings',
};

/** Replaces the message of the validator for each mistake that has no sentence in the schema. */
export function sentenceOf({ code, input, expected, values, origin, maximum }: RawIssue): string {
  if (code === 'invalid_value') return mistaken(`must be ${alternatives(values as string[])}`, input);
  if (code === 'too_small') return origin === 'string' ? 'must not be empty' : 'must have at least one item';
  if (code === 'too_big') return `must have at most ${String(maximum)} characters`;
  const kind = typeof expected === 'string' ? expected : '';
  return mistaken(`must be ${NOUNS[kind] ?? 'something else'}`, input, kind);
}

/** Returns the complaint with the kind of the present value, if it differs. The value itself may be a secret. */
export function mistaken(complaint: string, input: unknown, expected = 'string'): string {
  if (input === undefined) return 'is missing';
  if (input === null) return `has no value, and ${complaint}; text that begins with "&", "#" or "~" needs quotes`;
  const kind = kindOf(input);
  if (kind === NOUNS[expected] || (kind === 'a number' && expected === 'number')) return complaint;
  const remedy = remedyOf(input, expected);
  return `${complaint}, not ${kind}${remedy === undefined ? '' : `: ${remedy}`}`;
}

function kindOf(input: unknown): string {
  if (Array.isArray(input)) return 'a list';
  if (typeof input === 'object') return 'a section';
  return typeof input === 'number' ? 'a number' : (NOUNS[typeof input] ?? 'this');
}

function remedyOf(input: unknown, expected: string): string | undefined {
  if (expected === 'array') return 'each item begins with "- "';
  if (expected === 'object')
    return Array.isArray(input) ? 'its names begin without "- "' : 'give "name: value" below it';
  if (typeof input === 'object') return undefined;
  if (expected === 'string') return 'put it in quotes';
  const text = typeof input === 'string' ? input.trim() : '';
  if (expected === 'boolean' && /^(?:yes|no|on|off|y|n)$/i.test(text)) return 'YAML reads yes, no, on and off as text';
  const isQuoted =
    expected === 'boolean' ? /^(?:true|false)$/.test(text) : text !== '' && Number.isFinite(Number(text));
  return typeof input === 'string' && isQuoted ? 'leave the quotes out' : undefined;
}

function alternatives(values: readonly string[]): string {
  return values.length < 2 ? values.join('') : `${values.slice(0, -1).join(', ')} or ${String(values.at(-1))}`;
}

interface Named {
  readonly data: Readonly<Record<string, unknown>>;
}

/**
 * Returns `, did you mean log.level?`, or an empty text. The first layer has the defaults, so it has all names except the
 * fields of list items.
 */
export function nearestSetting(
  path: readonly PropertyKey[],
  [defaults]: readonly Named[],
  listFields: Readonly<Record<string, readonly string[]>>,
): string {
  const name = String(path.at(-1));
  const index = path.findIndex((part) => typeof part === 'number');
  if (index >= 0) return didYouMean(name, listFields[path.slice(0, index).join('.')] ?? []);
  const names = settingNames(defaults?.data ?? {});
  const above = path
    .slice(0, -1)
    .map((part) => `${String(part)}.`)
    .join('');
  const siblings = names.filter((known) => known.startsWith(above)).map((known) => known.slice(above.length));
  const beside = didYouMean(
    name,
    siblings.filter((known) => !known.includes('.')),
  );
  if (beside !== '') return beside;
  const elsewhere = names.filter((known) => lastPart(known).toLowerCase() === name.toLowerCase());
  return elsewhere.length === 1 ? didYouMean(elsewhere[0] ?? '', elsewhere) : didYouMean(`${above}${name}`, names);
}

function lastPart(name: string): string {
  return name.slice(name.lastIndexOf('.') + 1);
}

/** Returns sections and settings with the full names. */
function settingNames(data: Readonly<Record<string, unknown>>, above = ''): string[] {
  return Object.entries(data).flatMap(([name, value]) => {
    const isSection = typeof value === 'object' && value !== null && !Array.isArray(value);
    return [
      `${above}${name}`,
      ...(isSection ? settingNames(value as Record<string, unknown>, `${above}${name}.`) : []),
    ];
  });
}
