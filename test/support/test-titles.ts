/** Finds tests by their titles, for documents that name tests. */

const TITLE = /\bit\(\s*(['"`])((?:\\.|(?!\1)[^\\])*)\1/g;
const PLACEHOLDER = /\$\{[^}]*\}+/g;

/**
 * Whether a file has a test with this title. The file must also contain the values of the placeholders, which are in the
 * list of the cases of the test.
 */
export function hasTest(source: string, title: string): boolean {
  return [...source.matchAll(TITLE)].some(([, quote, text = '']) => {
    const unescaped = text.replaceAll(/\\(.)/g, '$1');
    if (quote !== '`') return unescaped === title;
    const pattern = unescaped.split(PLACEHOLDER).map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    const values = new RegExp(`^${pattern.join('(.*)')}$`).exec(title)?.slice(1);
    return values?.every((value) => source.includes(value)) ?? false;
  });
}
