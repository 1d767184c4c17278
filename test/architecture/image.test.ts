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

  it('builds on images with a tag, of the Node that the package asks for', () => {
    expect(build?.base).to.match(/^node:24-\w+-slim$/);
    expect(final?.base).to.match(/^gcr\.io\/distroless\/nodejs24-debian\d+:nonroot$/);
    const { engines } = JSON.parse(read('package.json')) as { engines: { node: string } };
    expect(engines.node).to.match(/^>=24\./);
  });

  it('ends as the user that the chart names', () => {
    const deployment = read('charts/registry-packages-proxy/templates/deployment.yaml');
    const [, uid = ''] = /runAsUser: (\d+)/.exec(deployment) ?? [];
    const [, gid = ''] = /runAsGroup: (\d+)/.exec(deployment) ?? [];
    expect(only('USER').at(-1)).to.equal(`${uid}:${gid}`);
  });

  it('says the version that the package and the chart say', () => {
    const labels = parseLabels(only('LABEL').join(' '));
    const { version } = JSON.parse(read('package.json')) as { version: string };
    const chart = parse(read('charts/registry-packages-proxy/Chart.yaml')) as { appVersion: string };
    const of = (name: string): string | undefined => labels[`org.opencontainers.image.${name}`];
    expect([of('version'), chart.appVersion]).to.deep.equal([version, version]);
    expect([of('revision'), of('base.name')]).to.deep.equal(['abc', final?.base]);
  });

  it('runs nothing by a shell in the last stage, where there is none', () => {
    for (const text of [...only('RUN'), ...only('ENTRYPOINT')]) {
      expect(parseExecForm(text)[0]).to.equal('/nodejs/bin/node');
    }
    expect(() => parseExecForm('npm start')).to.throw('no shell');
  });

  it('copies what the build may see or makes', () => {
    const context = parseContext(read('.dockerignore'));
    const copied = only('COPY').flatMap((text) => [...text.matchAll(/\/src\/(\S+)/g)].map(([, path = '']) => path));
    expect(copied.filter((path) => path !== 'dist' && !context.includes(path))).to.deep.equal([]);
    expect(copied).to.include('dist');
  });

  it('lets the build see what it imports', () => {
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
  it('joins lines, leaves comments out, and puts arguments in', () => {
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
