/** Finds the known name that is nearest to an unknown one. */

/** More changes than these make another word. */
const MOST_CHANGES = 3;

/** `, did you mean "serve"?`, or nothing when no name is near. */
export function didYouMean(typed: string, names: readonly string[]): string {
  const candidates = names
    .map((name) => ({ name, distance: name.startsWith(typed) ? 0 : changes(typed, name) }))
    .filter(({ name, distance }) => distance <= Math.min(MOST_CHANGES, name.length / 3))
    .sort((a, b) => a.distance - b.distance);
  const nearest = candidates[0]?.name;
  return nearest === undefined ? '' : `, did you mean ${nearest}?`;
}

/** Letters to insert, remove or replace (Levenshtein). */
function changes(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [i, letter] of Array.from(from).entries()) {
    const next = [i + 1];
    for (const [j, other] of Array.from(to).entries()) {
      const replaced = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
