/** Titles of the tests of a file, for documents that name tests. */

const TITLE = /\bit\(\s*(['"`])((?:\\.|(?!\1)[^\\])*)\1/g;
const PLACEHOLDER = /\$\{[^}]*\}+/g;

/**
 * Whether a file has a test with this title. The values of a title's placeholder have to be in the file, too: the
 * list over which the test is repeated.
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
