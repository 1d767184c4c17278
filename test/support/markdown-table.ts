/** Reads tables of the documents for tests that compare them with the code. */

/** Rows of the first table behind a heading, as their cells' text. */
export function tableBehind(heading: string, markdown: string): string[][] {
  const [, section = ''] = markdown.split(new RegExp(`^## ${heading}$`, 'm'));
  const rows = /(?:^\|.*\|\n)+/m.exec(section)?.[0].trim().split('\n').slice(2) ?? [];
  return rows.map((row) =>
    row
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}
