/** The walk of a request in ARCHITECTURE.md, compared with the files that a request enters. */
import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const ROOT = join(import.meta.dirname, '../..');
/** The limits of files that a request may enter. */
const MAX_FILES = { miss: 71, hit: 37 };

interface Path {
  readonly what: string;
  readonly files: readonly string[];
}

describe('the walk of a request in ARCHITECTURE.md', () => {
  let paths: readonly Path[];
  before(async function () {
    this.timeout(60_000);
    const tool = join(ROOT, 'tools/request-path.ts');
    const { stdout } = await promisify(execFile)(process.execPath, [tool, '--json'], { cwd: ROOT });
    paths = JSON.parse(stdout) as Path[];
  });

  for (const outcome of ['miss', 'hit'] as const) {
    it(`names files that a ${outcome} enters`, () => {
      const named = walkOf(outcome);
      expect(named.length).to.be.greaterThan(5);
      const entered = enteredBy(outcome);
      expect(
        named.filter((name) => !entered.some((file) => file === name || (name.endsWith('/') && file.startsWith(name)))),
      ).to.deep.equal([]);
    });

    it(`names each room that a ${outcome} enters`, () => {
      const rooms = new Set(walkOf(outcome).map(roomOf));
      if (outcome === 'hit')
        for (const name of walkOf('miss').filter((name) => name.includes('/http/'))) rooms.add(roomOf(name));
      // A timer of an earlier request can fire during one of them: of a room that a request needs, each enters a file.
      const [first = [], ...others] = paths.filter(({ what }) => what.startsWith(outcome)).map(({ files }) => files);
      const always = first.filter((file) => others.every((files) => files.includes(file)));
      const missing = always.map((file) => roomOf(file.replace(/^src\//, ''))).filter((room) => !rooms.has(room));
      expect(missing).to.deep.equal([]);
    });

    it(`is short for a ${outcome}`, () => {
      const most = Math.max(...paths.filter(({ what }) => what.startsWith(outcome)).map(({ files }) => files.length));
      expect(most).to.be.at.most(MAX_FILES[outcome]);
    });
  }

  function enteredBy(outcome: string): string[] {
    const files = paths.filter(({ what }) => what.startsWith(outcome)).flatMap((path) => path.files);
    return [...new Set(files.map((file) => file.replace(/^src\//, '')))];
  }
});

/** The files and the folders that the section names. */
function walkOf(outcome: string): string[] {
  const [, section = ''] = new RegExp(`^### A ${outcome}$([^]*?)^(?:##|The rooms call)`, 'm').exec(
    readFileSync(join(ROOT, 'ARCHITECTURE.md'), 'utf8'),
  ) ?? [''];
  return [...section.matchAll(/`((?:domain|application|infrastructure|adapters)\/[\w./-]*)`/g)].map(
    ([, name = '']) => name,
  );
}

/** `domain`, `adapters/http`. */
function roomOf(path: string): string {
  return path.split('/', path.startsWith('adapters/') ? 2 : 1).join('/');
}
