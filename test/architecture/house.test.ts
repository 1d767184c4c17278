import { expect } from 'chai';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, type SourceFile, sourceFiles } from './source-files.ts';

/** An adapter may name one lower adapter. */
const LOWER: Readonly<Record<string, string>> = {
  bootstrap: 'http',
  cli: 'blobs',
  filesystem: 'blobs',
  log: 'http',
  'oci-layout': 'blobs',
  prometheus: 'observers',
  s3: 'registry',
};

/** The imports that a room may have; the first rule whose room holds the file decides. */
const ROOMS: { room: string; project: string[]; packages: string[] | 'any' }[] = [
  { room: 'src/domain/', project: ['src/domain/'], packages: ['node:crypto'] },
  { room: 'src/application/', project: ['src/domain/', 'src/application/'], packages: [] },
  ...Object.entries({
    archive: ['node:zlib'],
    bootstrap: ['koa', 'node:crypto', 'node:net'],
    cli: [
      'yaml',
      'node:child_process',
      'node:crypto',
      'node:events',
      'node:fs',
      'node:fs/promises',
      'node:http',
      'node:https',
      'node:net',
      'node:path',
      'node:stream',
      'node:stream/consumers',
      'node:timers/promises',
      'node:util',
    ],
    filesystem: [
      'node:fs',
      'node:fs/promises',
      'node:path',
      'node:crypto',
      'node:timers/promises',
      'node:util',
      'node:worker_threads',
    ],
    http: [
      'koa',
      '@koa/router',
      'node:async_hooks',
      'node:http',
      'node:https',
      'node:net',
      'node:tls',
      'node:crypto',
      'node:fs',
    ],
    kubernetes: [
      '@kubernetes/client-node',
      'yaml',
      'node:child_process',
      'node:crypto',
      'node:fs',
      'node:fs/promises',
      'node:https',
      'node:path',
      'node:timers/promises',
    ],
    log: ['pino', 'node:fs'],
    observers: [],
    'oci-layout': ['node:fs', 'node:fs/promises', 'node:net', 'node:path'],
    prometheus: ['prom-client', 'node:crypto', 'node:fs'],
    // Below the two adapters that have directories of blobs.
    blobs: ['node:fs', 'node:fs/promises', 'node:path', 'node:sqlite', 'node:util'],
    registry: [
      'node:crypto',
      'node:dns',
      'node:fs',
      'got',
      'socks',
      'tldts',
      'node:http',
      'node:https',
      'node:tls',
      'node:net',
      'node:timers/promises',
      'node:stream',
      'node:zlib',
      'node:events',
    ],
    s3: ['aws4', 'node:fs/promises', 'node:http', 'node:path', 'node:timers/promises', 'zod'],
    service: ['node:http', 'node:https'],
    sources: ['node:fs', 'zod'],
    signatures: ['node:crypto', 'node:fs', 'node:fs/promises', 'node:path'],
    static: ['zod', 'node:fs', 'node:fs/promises'],
    unstored: [],
  }).map(([name, packages]) => ({
    room: `src/adapters/${name}/`,
    project: ['src/domain/', 'src/application/', ...[name, LOWER[name] ?? name].map((room) => `src/adapters/${room}/`)],
    packages,
  })),
  { room: 'src/infrastructure/', project: ['src/'], packages: 'any' },
];

/** Adapters of a port that its contract suite does not run over, and why. */
const WITHOUT_CONTRACT: Readonly<Record<string, string>> = {
  NoImageCatalog: 'it has no registry, and promises nothing else',
  NoPackageStore: 'it stores nothing, and promises nothing else',
  ResumableBlob: 'the suite of ImageLayout runs over it',
};

/** The only folder that may know the container's packages. */
const CONTAINER = 'src/infrastructure/container/';
const NAMELESS_FOLDERS = /(^|\/)(utils?|helpers?|common|shared|misc|lib)\//;
const MAX_LINES = 250;

describe('the house', () => {
  const files = sourceFiles('src');

  it('is read completely', () => {
    expect(files.length).to.be.greaterThan(30);
  });

  it('imports only from inner rooms', () => {
    const broken = files.flatMap((file) => {
      const rule = ROOMS.find(({ room }) => file.path.startsWith(room));
      if (rule === undefined) return [`${file.path} is in no room`];
      return file.imports
        .filter((name) => !isAllowed(name, rule))
        .map((name) => `${file.path} must not import ${name}`);
    });
    expect(broken).to.deep.equal([]);
  });

  it('uses the container only in the files of the container', () => {
    const knowing = files.filter(({ imports }) =>
      imports.some((name) => name === 'inversify' || name === 'reflect-metadata'),
    );
    expect(knowing.map(({ path }) => path).filter((path) => !path.startsWith(CONTAINER))).to.deep.equal([]);
  });

  it('has no import cycle', () => {
    expect(findCycle(files)).to.equal(undefined);
  });

  it('has no generic folder name, no barrel, no default export, and no file over the limit of lines', () => {
    const faults = files.flatMap(({ path, text }) => [
      ...(NAMELESS_FOLDERS.test(path) ? [`${path}: folder says nothing`] : []),
      ...(path.endsWith('/index.ts') ? [`${path}: barrel`] : []),
      ...(/^export default/m.test(text) ? [`${path}: default export`] : []),
      ...(text.split('\n').length > MAX_LINES ? [`${path}: over ${String(MAX_LINES)} lines`] : []),
    ]);
    expect(faults).to.deep.equal([]);
  });

  it('states in the first line of each file why the file exists', () => {
    expect(files.filter(({ text }) => !text.startsWith('/** ')).map(({ path }) => path)).to.deep.equal([]);
  });

  it('reads its environment and its arguments in program.ts, and the bundle its arguments in start.ts', () => {
    const readers = (pattern: RegExp): string[] =>
      files.filter(({ text }) => pattern.test(text)).map(({ path }) => path);
    expect(readers(/process\.(env|exit)\b/)).to.deep.equal(['src/infrastructure/program.ts']);
    expect(readers(/process\.argv\b/)).to.deep.equal([
      'src/infrastructure/bundle/start.ts',
      'src/infrastructure/program.ts',
    ]);
  });

  it('hears signals before it loads anything else', () => {
    const importsOf = (name: string): string[] => {
      const { text = '' } = files.find(({ path }) => path === `src/infrastructure/${name}`) ?? {};
      return [...text.matchAll(/^import .*?'(.*)';$/gm)].map(([, from = '']) => from);
    };
    expect(importsOf('main.ts')).to.deep.equal(['./interruption.ts']);
    expect(importsOf('program.ts')[0]).to.equal('./interruption.ts');
    expect(importsOf('bundle/start.ts')[0]).to.equal('../interruption.ts');
  });

  it('never disables the verification of certificates', () => {
    expect(
      files.filter(({ text }) => /rejectUnauthorized|NODE_TLS_REJECT/.test(text)).map(({ path }) => path),
      // The server that tells clients without a certificate what they lack; its tests hold it.
    ).to.deep.equal(['src/adapters/http/server/mutual-tls.ts']);
  });

  it('has a source file for each unit test', () => {
    const orphans = readdirSync(join(ROOT, 'test/unit'), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.test.ts') && !name.startsWith('examples/'))
      .map((name) => join('src', name.replace(/\.test\.ts$/, '.ts')))
      .filter((path) => !existsSync(join(ROOT, path)));
    expect(orphans).to.deep.equal([]);
  });

  it('runs the contract of its port over each adapter and each fake', () => {
    const contracts = sourceFiles('test/contract').map(({ text }) => text);
    const ports = sourceFiles('src/domain/ports').flatMap(({ text }) =>
      [...text.matchAll(/^export interface (\w+)/gm)].map(([, port = '']) => port),
    );
    const implementations = [
      ...files.filter(({ path }) => path.startsWith('src/adapters/')),
      ...sourceFiles('test/support'),
    ]
      .flatMap(({ text }) => [...text.matchAll(/class (\w+) (?:extends \w+ )?implements ([\w, ]+)/g)])
      .flatMap(([, name = '', names = '']) => names.split(',').map((port) => ({ name, port: port.trim() })))
      .filter(({ port }) => ports.includes(port));
    expect(implementations.length).to.be.greaterThan(4);
    const untested = implementations
      .filter(({ name }) => WITHOUT_CONTRACT[name] === undefined)
      .filter(({ name, port }) => !contracts.some((text) => text.includes(`describe${port}(`) && text.includes(name)));
    expect(untested).to.deep.equal([]);
  });

  it('depends at run time only on the packages of the card and of the ADRs', () => {
    const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>;
    };
    const imported = new Set(files.flatMap(({ imports }) => imports.filter((name) => !/^(node:|src\/)/.test(name))));
    expect(Object.keys(dependencies).sort()).to.deep.equal([...imported].sort());
  });
});

function isAllowed(name: string, rule: (typeof ROOMS)[number]): boolean {
  if (name.startsWith('src/')) return rule.project.some((room) => name.startsWith(room));
  return rule.packages === 'any' || rule.packages.includes(name);
}

/** One cycle of imports, as its files in order; undefined when there is none. */
function findCycle(files: readonly SourceFile[]): string[] | undefined {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const done = new Set<string>();
  const visit = (path: string, trail: string[]): string[] | undefined => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path];
    if (done.has(path)) return undefined;
    for (const next of byPath.get(path)?.imports ?? []) {
      const cycle = visit(next, [...trail, path]);
      if (cycle !== undefined) return cycle;
    }
    done.add(path);
    return undefined;
  };
  for (const { path } of files) {
    const cycle = visit(path, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}
