/** Comments, messages, documents and titles of tests name their subject: a reader, a client, a registry, a download. */
import { expect } from 'chai';
import { globSync, readFileSync } from 'node:fs';
import ts from 'typescript';

/** A sentence with such a word hides its subject, unless it is about a person. Thirteen well-read code bases have 0.0 to 0.3 %. */
const VAGUE = /\b(?:who|whoever|whom|whatever|nobody|somebody|anybody)\b/i;
const VAGUE_START = /^(?:Who|Whoever|What|Whatever|Of|Else|Nor)\b/;
const MAX_SHARE = 0.01;
/** With fewer sentences the test does not read its files correctly. */
const MIN_SENTENCES = 30;

type Read = (file: string, source: string) => string[];

const ROOMS: Readonly<Record<string, { readonly patterns: readonly string[]; readonly read: Read }>> = {
  'comments of src': { patterns: ['src/**/*.ts'], read: textsOf },
  'comments of tests': { patterns: ['test/**/*.ts'], read: textsOf },
  'comments of benches and tools': { patterns: ['{bench,tools}/**/*.ts'], read: textsOf },
  'the settings, the chart and scripts': {
    patterns: [
      'config/*.yaml',
      'charts/*/*.yaml',
      'charts/*/templates/**/*.{yaml,tpl}',
      'tools/*.sh',
      'examples/*.sh',
      '.ci/run',
    ],
    read: textsOf,
  },
  documents: { patterns: ['*.md', 'docs/**/*.md', 'charts/**/*.md'], read: textsOf },
  'messages of src': { patterns: ['src/**/*.ts'], read: (_, source) => messagesOf(source) },
  'titles of tests': { patterns: ['test/**/*.ts'], read: (_, source) => titlesOf(source) },
};

describe('the language', () => {
  for (const [room, { patterns, read }] of Object.entries(ROOMS))
    it(`names the subject in ${room}`, () => {
      const sentences = globSync(patterns).flatMap((file) =>
        read(file, readFileSync(file, 'utf8'))
          .flatMap(sentencesOf)
          .map((text) => ({ file, text })),
      );
      expect(sentences.length).to.be.at.least(MIN_SENTENCES);
      const vague = sentences.filter(({ text }) => isVague(text));
      const found = vague.map(({ file, text }) => `${file}: ${text}`).join('\n');
      expect(vague.length / sentences.length, found).to.be.at.most(MAX_SHARE);
    });

  it('reads the title of a test with those of its groups', () => {
    const source =
      "describe('a', () => { for (const n of [1]) describe(`what ${n}`, () => { it('is read', () => {}); }); });";
    expect(titlesOf(source)).to.deep.equal(['A what … is read']);
  });

  for (const text of ['/** Whoever reads it waits. */', '// Of the registry.', '// A lock that nobody holds.'])
    it(`finds the vague sentence in "${text}"`, () => {
      expect(textsOf('a.ts', `${text}\nexport {};`).flatMap(sentencesOf).filter(isVague)).to.have.lengthOf(1);
    });
});

/** The title of a test with those of the groups around it: one sentence. */
function titlesOf(source: string): string[] {
  const titles: string[] = [];
  const walk = (node: ts.Node, groups: readonly string[]): void => {
    const title = ts.isCallExpression(node) && ts.isIdentifier(node.expression) ? titleOf(node) : undefined;
    if (title === undefined)
      ts.forEachChild(node, (child) => {
        walk(child, groups);
      });
    else if (title.kind === 'it')
      titles.push([...groups, title.text].join(' ').replace(/^./, (first) => first.toUpperCase()));
    else
      ts.forEachChild(node, (child) => {
        walk(child, [...groups, title.text]);
      });
  };
  walk(ts.createSourceFile('source.ts', source, ts.ScriptTarget.Latest, true), []);
  return titles;
}

function titleOf({ expression, arguments: [title] }: ts.CallExpression): { kind: string; text: string } | undefined {
  const kind = expression.getText();
  if ((kind !== 'it' && kind !== 'describe') || title === undefined) return undefined;
  if (ts.isStringLiteralLike(title)) return { kind, text: title.text };
  if (!ts.isTemplateExpression(title)) return undefined;
  const { head, templateSpans } = title;
  return { kind, text: [head.text, ...templateSpans.map(({ literal }) => literal.text)].join('…') };
}

function isVague(sentence: string): boolean {
  return VAGUE.test(sentence) || VAGUE_START.test(sentence);
}

function textsOf(file: string, source: string): string[] {
  if (file.endsWith('.ts')) return commentsOf(source);
  return file.endsWith('.md') ? paragraphsOf(source) : hashCommentsOf(source);
}

/** Line comments below one another are one text. */
function commentsOf(source: string): string[] {
  const ends = new Map<number, number>();
  visit(source, (node) => {
    const ranges = [
      ...(ts.getLeadingCommentRanges(source, node.pos) ?? []),
      ...(ts.getTrailingCommentRanges(source, node.end) ?? []),
    ];
    for (const { pos, end } of ranges) ends.set(pos, end);
  });
  const texts: string[] = [];
  let last = -1;
  for (const [pos, end] of [...ends].sort(([a], [b]) => a - b)) {
    const text = source.slice(pos, end).replaceAll(/^\s*(?:\/\*\*?|\/\/|\*(?!\/))|\*\/$/gm, '');
    const isNext = source.startsWith('//', pos) && /^\n\s*$/.test(source.slice(last, pos));
    if (isNext) texts.push(`${texts.pop() ?? ''} ${text}`);
    else texts.push(text);
    last = end;
  }
  return texts;
}

/** Texts with a blank in them; a name or a key has none. */
function messagesOf(source: string): string[] {
  const texts: string[] = [];
  visit(source, (node) => {
    if ((ts.isStringLiteralLike(node) || ts.isTemplateHead(node)) && node.text.includes(' ')) texts.push(node.text);
  });
  return texts;
}

function visit(source: string, see: (node: ts.Node) => void): void {
  const walk = (node: ts.Node): void => {
    see(node);
    ts.forEachChild(node, walk);
  };
  walk(ts.createSourceFile('source.ts', source, ts.ScriptTarget.Latest));
}

/** Without code, whose words are not ours; a cell of a table is a text. */
function paragraphsOf(source: string): string[] {
  return source
    .replaceAll(/^```[^]*?^```/gm, '')
    .replaceAll(/\]\([^)]*\)/g, ']')
    .replaceAll(/`[^`]*`/g, '`code`')
    .split(/\n\s*\n|\n(?=[-*|#>]|\d+\. )|\s\|\s|^\|/m)
    .map((text) => text.replace(/^\s*(?:#+|[-*>]|\d+\.)\s+/, '').replace(/^\*\*/, ''));
}

function hashCommentsOf(source: string): string[] {
  const texts: string[] = [];
  let isNext = false;
  for (const line of source.split('\n')) {
    const text = /^\s*#(?!!) ?(.*)$/.exec(line)?.[1];
    if (text !== undefined) texts.push(isNext ? `${texts.pop() ?? ''} ${text}` : text);
    isNext = text !== undefined;
  }
  return texts;
}

function sentencesOf(text: string): string[] {
  return text
    .replaceAll(/\s+/g, ' ')
    .trim()
    .split(/(?<=[.:;!?]) (?=[A-Z`*])/)
    .filter((sentence) => /\w{3}/.test(sentence));
}
