/** The names of all settings, to suggest one for a mistyped name. */
import { didYouMean } from './command.ts';

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
