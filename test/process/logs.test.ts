import { expect } from 'chai';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { LOG_LEVELS } from '../../src/infrastructure/settings.ts';
import { ROOT, sourceFiles } from '../architecture/source-files.ts';
import { type Line, loggedLines, TRACE_ID } from '../support/logged-lines.ts';
import { tableBehind } from '../support/markdown-table.ts';

const PAGE = readFileSync(join(ROOT, 'docs/logs.md'), 'utf8');
const COMMON = ['level', 'time', 'msg', 'err'];

const namesIn = (text = ''): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
const firstCells = (heading: string): string[] => tableBehind(heading, PAGE).flatMap(([cell]) => namesIn(cell));
const jq = spawnSync('jq', ['--version']).status === 0 ? it : it.skip;

describe('docs/logs.md', () => {
  let lines: Line[];
  let requests: Line[];
  before(async function () {
    // It starts many services one after the other, which takes 90 s on a busy machine.
    this.timeout(240_000);
    lines = await loggedLines();
    requests = lines.filter(({ msg }) => msg === 'request');
  });

  it('lists exactly the messages of the sources', () => {
    const messages = sourceFiles('src').flatMap(({ path, text }) => messagesIn(path, text));
    expect(firstCells('Messages').sort()).to.deep.equal([...new Set(messages)].sort());
  });

  it('is compared with every message except those that a test cannot cause', () => {
    const seen = new Set(lines.map(({ msg }) => String(msg)));
    expect(firstCells('Messages').filter((message) => !seen.has(message))).to.deep.equal([
      'log was not read, lines are lost',
      'this is a bug',
    ]);
  });

  it('lists exactly the level and the fields of each message', () => {
    for (const [message, level, , fields] of tableBehind('Messages', PAGE)) {
      const [name = ''] = namesIn(message);
      const own = lines.filter(({ msg }) => msg === name);
      if (name === 'request' || own.length === 0) continue;
      expect([...new Set(own.map((line) => line['level']))], name).to.deep.equal(namesIn(level));
      const seen = new Set(own.flatMap((line) => Object.keys(line)).filter((field) => !COMMON.includes(field)));
      // Work without a request, such as the manifest of the scrub, belongs to no trace.
      expect([...seen].sort(), name).to.deep.equal(namesIn(fields).sort());
    }
    for (const { level, time } of lines) {
      expect(level).to.be.oneOf(LOG_LEVELS);
      expect(time).to.match(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    }
    expect(firstCells('Every line')).to.deep.equal(COMMON);
  });

  it('lists the fields of a request, and which of them are always present', () => {
    const documented = tableBehind('Requests', PAGE).map(([field, when]) => ({ field: namesIn(field)[0] ?? '', when }));
    const seen = new Set(requests.flatMap((line) => Object.keys(line)));
    for (const field of COMMON.filter((name) => name !== 'err')) seen.delete(field);
    expect([...seen].sort()).to.deep.equal(documented.map(({ field }) => field).sort());
    for (const { field } of documented.filter(({ when }) => when === 'always')) {
      expect(
        requests.filter((line) => line[field] === undefined),
        field,
      ).to.deep.equal([]);
    }
  });

  it('is compared with requests of all outcomes', () => {
    expect(new Set(requests.map(({ cache }) => cache))).to.deep.equal(
      new Set([undefined, 'hit', 'miss', 'joined', 'bypass']),
    );
    const statuses = new Set(requests.map(({ status }) => status));
    for (const status of [200, 206, 304, 400, 404, 405, 416, 499, 502, 503, 504]) expect(statuses).to.include(status);
    for (const line of requests) {
      const [status, level] = [Number(line['status']), line['level']];
      const isProbe = ['/healthz', '/readyz', '/metrics'].includes(String(line['route']));
      expect(level, JSON.stringify(line)).to.equal(status > 500 ? 'warn' : isProbe ? 'debug' : 'info');
    }
  });

  it('lists the fields of an error', () => {
    const errors = lines.flatMap(({ err }) => (err === undefined ? [] : [err as Line]));
    expect([...new Set(errors.flatMap((error) => Object.keys(error)))].sort()).to.deep.equal(
      firstCells('Errors').sort(),
    );
  });

  jq('has queries that find their lines', () => {
    const input = lines.map((line) => JSON.stringify(line)).join('\n');
    const queries = [...PAGE.matchAll(/^log \| (jq .*)$/gm)].map(([, query = '']) => query);
    expect(queries).to.have.lengthOf(4);
    expect(PAGE).to.include(TRACE_ID);
    for (const query of queries) {
      const { status, stdout, stderr } = spawnSync('sh', ['-c', query], { input, encoding: 'utf8' });
      expect(status, stderr).to.equal(0);
      expect(stdout.trim(), query).not.to.equal('');
    }
  });
});

/** The texts that a logger is given: the last argument of `logger.info(…)` and of `logger[level](…)`. */
function messagesIn(path: string, text: string): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node)) {
      const { expression: callee, arguments: args } = node;
      const last = args.at(-1);
      const isMethod = ts.isPropertyAccessExpression(callee) && LOG_LEVELS.some((level) => level === callee.name.text);
      if (
        (isMethod || ts.isElementAccessExpression(callee)) &&
        /logger$/i.test(callee.expression.getText()) &&
        last !== undefined
      ) {
        if (!ts.isStringLiteral(last)) throw new Error(`${path}: a message that is not always the same`);
        found.push(last.text);
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true));
  return found;
}
