import { expect } from 'chai';
import { rejection } from '../support/rejection.ts';
import { executePage } from '../support/pages/execute.ts';
import { parsePage, readPages } from '../support/pages/page.ts';
import { Sandbox } from '../support/pages/sandbox.ts';

const obstacle = Sandbox.obstacle();
const PAGE_TIMEOUT_MS = 300_000;

describe('the commands of the documents', () => {
  const pages = readPages();

  it('are found', () => {
    expect(pages.map(({ path }) => path)).to.include.members(['README.md', 'CONTRIBUTING.md', 'docs/threats.md']);
    expect(pages.flatMap(({ commands }) => commands)).to.have.length.greaterThan(4);
  });

  it('are in blocks, and each comment before a block is valid', () => {
    expect(pages.flatMap(({ faults }) => faults)).to.deep.equal([]);
  });

  for (const { path, commands } of pages) {
    for (const { line, execution } of commands) {
      // Pending, so that every report has them.
      if (execution.how === 'skipped') it(`are not executed in ${path}:${String(line)}: ${execution.reason}`);
    }
  }

  for (const page of pages) {
    if (page.needs.length > 0 || page.commands.every(({ execution }) => execution.how === 'skipped')) continue;
    if (obstacle === undefined) {
      it(`work as ${page.path} describes`, () => executePage(page)).timeout(PAGE_TIMEOUT_MS);
    } else {
      it.skip(`work as ${page.path} describes: ${obstacle}`);
    }
  }
});

describe('the execution of a page', () => {
  /** A page of these lines, in which ' stands for a fence's backquote. */
  const page = (...lines: readonly string[]) => parsePage('page.md', lines.join('\n').replaceAll("'''", '```'));
  const execution = obstacle === undefined ? it : it.skip;

  execution('runs the blocks of a page in one shell, in its own network, with the files of the page', async () => {
    const { faults, ...rest } = page(
      ...["'''yaml", '# a.yaml', 'b: c', "'''", "'''sh", 'cat a.yaml; A=1', "'''", '', "'''text", '…', 'b: …', "'''"],
      ...['<!-- executed: stays, and says "listening" -->', '', "'''sh"],
      ...['node -e \'require("net").createServer().listen(5080, () => console.log("listening"))\'', "'''"],
      ...[
        '- In a list:',
        '',
        "  '''sh",
        '  test $A = 1 && test ! -e ~/.npm && : >/mnt/file && getent hosts master-0',
        "  '''",
      ],
      ...['<!-- executed: fails -->', '', "'''sh", 'false', 'echo no', "'''"],
      ...['<!-- not executed: it takes years -->', '', "'''sh", 'exit 5', "'''"],
    );
    expect(faults).to.deep.equal([]);
    await executePage({ ...rest, faults });
  });

  const failures: [what: string, lines: string[], message: RegExp][] = [
    [
      'a command that fails',
      ["'''sh", 'echo on the way', 'false', 'echo on', "'''"],
      /page.md:1 ends with 1\s+on the way/,
    ],
    ['a command that fails in a pipe', ["'''sh", 'false | cat', "'''"], /page.md:1 ends with 1/],
    ['a variable that is not set', ["'''sh", 'echo $NAMESPACE', "'''"], /page.md:1 ends with \d+[^]*NAMESPACE/],
    ['an output that is another', ["'''sh", 'echo a b', "'''", '', "'''text", 'a …c', "'''"], /page.md:1 prints\s+a b/],
    ['an output that is longer', ["'''sh", 'echo a; echo b', "'''", '', "'''text", 'a', "'''"], /page.md:1 prints/],
    [
      'a failure that does not come',
      ['<!-- executed: fails -->', '', "'''sh", 'true', "'''"],
      /page.md:3 does not fail/,
    ],
    [
      'a program that does not stay',
      ['<!-- executed: stays, and says "listening" -->', '', "'''sh", 'echo no', "'''"],
      /page.md:3 does not say what it shall[^]*\nno/,
    ],
  ];
  for (const [what, lines, message] of failures) {
    execution(`reports ${what}`, async () => {
      expect((await rejection(executePage(page(...lines)))).message).to.match(message);
    });
  }

  it('refuses unknown comments, and blocks without a language', () => {
    const { faults } = page(
      ...['<!-- not executed -->', '', "'''sh", 'true', "'''", '<!-- executed: maybe -->', '', "'''sh", 'true', "'''"],
      ...["'''", 'npm start', "'''", "'''bash", 'npm start', "'''"],
    );
    expect(faults).to.have.lengthOf(4);
  });
});
