import { expect } from 'chai';
import { parsePackageList } from '../../../../src/adapters/cli/package-list.ts';
import { CommandFailure } from '../../../../src/adapters/cli/command.ts';
import { DEFAULT_REPOSITORY, parseRepositoryName, parseRepositoryPath } from '../../../../src/domain/reference.ts';
import { makePackage } from '../../../support/image.ts';

const [a, b] = [makePackage(1).digest, makePackage(2, 2).digest];
const none = { repository: DEFAULT_REPOSITORY, path: undefined };
const parse = (text: string, defaults: Parameters<typeof parsePackageList>[2] = none) =>
  parsePackageList(text, 'list', defaults);

describe('parsePackageList', () => {
  it('reads one package in each line, with an optional repository and path', () => {
    expect(parse(`${a}\n${b} registry.example/modules/ ingress/nginx\n${b} - jq\n`)).to.deep.equal([
      { digest: a, repository: '', path: undefined, place: 'list:1' },
      { digest: b, repository: 'registry.example/modules', path: 'ingress/nginx', place: 'list:2' },
      { digest: b, repository: '', path: 'jq', place: 'list:3' },
    ]);
  });

  it('skips comments, empty lines, a byte order mark and CR', () => {
    const listed = parse(`\uFEFF# packages of 1.70\r\n\r\n  ${a}\t# jq\r\n#${b}\r\n`);
    expect(listed.map(({ digest, place }) => [digest, place])).to.deep.equal([[a, 'list:3']]);
  });

  it('returns each package once', () => {
    expect(parse(`${a}\n${a} -\n${a} registry.example/modules\n`)).to.have.lengthOf(2);
  });

  it('uses the default repository and path for a line without them', () => {
    const defaults = { repository: parseRepositoryName('registry.example/ee'), path: parseRepositoryPath('jq') };
    const places = parse(`${a}\n${b} - yq\n${b} registry.example/modules\n`, defaults);
    expect(places.map(({ repository, path }) => [repository, path])).to.deep.equal([
      ['registry.example/ee', 'jq'],
      ['registry.example/ee', 'yq'],
      ['registry.example/modules', 'jq'],
    ]);
  });

  it('reads the digests of JSON at any depth, with their keys as names', () => {
    const listed = parse(JSON.stringify({ registrypackages: { jq171: a, yq: { v4: b } } }), none);
    expect(listed.map(({ digest, place }) => [digest, place])).to.deep.equal([
      [a, 'list: registrypackages.jq171'],
      [b, 'list: registrypackages.yq.v4'],
    ]);
    expect(parse(JSON.stringify([a, b]))).to.have.lengthOf(2);
    expect(parse(JSON.stringify({ '\u001b[2J': a }))[0]?.place).to.equal('list: ?[2J');
  });

  it('reports all mistakes together, with their lines', () => {
    const text = `jq\n${a} registry..example/x\n${a} - UPPER\n${a} - jq too\n${a}\nsha256:${'A'.repeat(64)}\n`;
    expect(() => parse(text)).to.throw(
      CommandFailure,
      [
        'list:1: digest must be "sha256:" and 64 lower-case hex digits',
        'list:2: repository must be host[:port][/path]',
        'list:3: path must be lower-case name components joined by "/"',
        'list:4: must be a digest, optionally with a repository and a path',
        'list:6: digest must be "sha256:" and 64 lower-case hex digits',
      ].join('\n'),
    );
    expect(() => parse(JSON.stringify({ a: { b: 1 }, c: a, d: null }))).to.throw(
      'list: a.b: digest must be "sha256:" and 64 lower-case hex digits\nlist: d: digest must be',
    );
  });

  it('limits the number of reported mistakes', () => {
    expect(() => parse('x\n'.repeat(1000))).to.throw(/\nlist:50: [^\n]+\n… and 950 more$/);
  });

  it('refuses a truncated or empty list', () => {
    expect(() => parse('{"jq171": ')).to.throw(CommandFailure, 'list: is not JSON');
    for (const text of ['', '# nothing\n', '{}']) expect(() => parse(text)).to.throw('list: names no package');
  });
});
