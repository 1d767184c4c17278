import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { parseContext, parseDockerfile, parseExecForm, parseLabels } from '../../tools/image/dockerfile.ts';
import { ROOT, sourceFiles } from './source-files.ts';

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

describe('the Dockerfile', () => {
  const [build, final] = parseDockerfile(read('Dockerfile'), { REVISION: 'abc' });
  const only = (keyword: string): string[] =>
    (final?.instructions ?? []).filter((each) => each.keyword === keyword).map(({ text }) => text);

  it('uses base images with a tag and the version of Node in package.json', () => {
    expect(build?.base).to.match(/^node:24-\w+-slim$/);
    expect(final?.base).to.match(/^gcr\.io\/distroless\/nodejs24-debian\d+:nonroot$/);
    const { engines } = JSON.parse(read('package.json')) as { engines: { node: string } };
    expect(engines.node).to.match(/^>=24\./);
  });

  it('runs as the user of the chart', () => {
    const deployment = read('charts/registry-packages-proxy/templates/deployment.yaml');
    const [, uid = ''] = /runAsUser: (\d+)/.exec(deployment) ?? [];
    const [, gid = ''] = /runAsGroup: (\d+)/.exec(deployment) ?? [];
    expect(only('USER').at(-1)).to.equal(`${uid}:${gid}`);
  });

  it('has the version of the package and the chart', () => {
    const labels = parseLabels(only('LABEL').join(' '));
    const { version } = JSON.parse(read('package.json')) as { version: string };
    const chart = parse(read('charts/registry-packages-proxy/Chart.yaml')) as { appVersion: string };
    const of = (name: string): string | undefined => labels[`org.opencontainers.image.${name}`];
    expect([of('version'), chart.appVersion]).to.deep.equal([version, version]);
    expect([of('revision'), of('base.name')]).to.deep.equal(['abc', final?.base]);
  });

  it('runs no shell in the last stage, which has none', () => {
    for (const text of [...only('RUN'), ...only('ENTRYPOINT')]) {
      expect(parseExecForm(text)[0]).to.equal('/nodejs/bin/node');
    }
    expect(() => parseExecForm('npm start')).to.throw('no shell');
  });

  it('copies only files of the build context or the build', () => {
    const context = parseContext(read('.dockerignore'));
    const copied = only('COPY').flatMap((text) => [...text.matchAll(/\/src\/(\S+)/g)].map(([, path = '']) => path));
    expect(copied.filter((path) => path !== 'dist' && !context.includes(path))).to.deep.equal([]);
    expect(copied).to.include('dist');
  });

  it('includes all imports of the build in its context', () => {
    const context = parseContext(read('.dockerignore'));
    const tools = sourceFiles('tools');
    const needed = new Set(['tools/build.ts']);
    for (const path of needed) {
      const { imports = [] } = tools.find((file) => file.path === path) ?? {};
      for (const name of imports) if (name.startsWith('tools/')) needed.add(name);
    }
    expect([...needed].sort()).to.deep.equal(context.filter((path) => path.startsWith('tools/')).sort());
  });
});

describe('parseDockerfile', () => {
  it('joins lines, removes comments, and replaces arguments', () => {
    const source = 'ARG A=1\n# no\nFROM --platform=$X x:${A} AS build\nRUN a \\\n  b ${A}\nFROM y\nARG B\nUSER ${B}\n';
    expect(parseDockerfile(source, { A: '2', B: '3' })).to.deep.equal([
      { base: 'x:2', instructions: [{ keyword: 'RUN', text: 'a b 2' }] },
      { base: 'y', instructions: [{ keyword: 'USER', text: '3' }] },
    ]);
  });

  it('refuses an argument without a value', () => {
    expect(() => parseDockerfile('FROM ${NONE}', {})).to.throw('no ARG NONE');
  });
});
