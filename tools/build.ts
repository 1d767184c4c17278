/** `npm run build`: the service without node_modules, as `dist/start.mjs`, what V8 compiles of it, and its parts list. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { build, type BuildOptions, type Plugin } from 'esbuild';
import { licenceTexts } from './release/licences.ts';
import { commitOf } from '../src/adapters/cli/version.ts';
import { bundledPackages, createSbom } from './sbom.ts';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');

/**
 * The Kubernetes client does not say that its modules do nothing when they are loaded, so esbuild would keep the models of all
 * kinds of objects, of which none is used: 4 MB of the idle process.
 */
const usedPartOfKubernetesClient: Plugin = {
  name: 'used part of the Kubernetes client',
  setup: (bundle) => {
    bundle.onResolve({ filter: /^\./ }, ({ path, importer, resolveDir }) =>
      importer.includes('/@kubernetes/client-node/') ? { path: join(resolveDir, path), sideEffects: false } : undefined,
    );
  },
};

const options = {
  absWorkingDir: root,
  // The names are those of the sources, by which they find each other.
  entryNames: '[name]',
  outdir: dist,
  bundle: true,
  platform: 'node',
  target: 'node24',
  minifyWhitespace: true,
  minifySyntax: true,
  // Identifiers stay: errors are told apart by their names, and `keepNames` gives each closure its name again whenever it
  // is made, which took 12 of the 45 us of a small hit.
  minifyIdentifiers: false,
  // The same bytes wherever this is and node_modules really are: esbuild would look for it in all folders above, too.
  tsconfig: join(root, 'tsconfig.json'),
  preserveSymlinks: true,
  // Only tools of the development bring it, for the colours of `debug`, which goes without.
  external: ['supports-color'],
  // Koa and its parts bring three copies, each with a table of all media types.
  alias: { 'mime-types': createRequire(import.meta.resolve('koa')).resolve('mime-types') },
  plugins: [usedPartOfKubernetesClient],
  metafile: true,
} satisfies BuildOptions;

rmSync(dist, { recursive: true, force: true });
// Only a script can have a code cache: the part that serves. start.ts is around it.
const service = await build({
  ...options,
  entryPoints: ['src/infrastructure/program.ts'],
  plugins: [
    ...options.plugins,
    {
      name: 'serving-table',
      setup: (bundle) => {
        const path = join(root, 'src/infrastructure/bundle/serving-table.ts');
        bundle.onResolve({ filter: /\/commands\/table\.ts$/ }, () => ({ path }));
      },
    },
  ],
  format: 'cjs',
  outExtension: { '.js': '.cjs' },
  define: { 'import.meta.url': 'bundleUrl' },
  // The file is what is compiled: a text that is made of two is in memory beside it.
  banner: { js: '(function(require,bundleUrl){' },
  footer: { js: '})' },
});
const commands = await build({
  ...options,
  entryPoints: [
    'src/infrastructure/bundle/start.ts',
    'src/infrastructure/bundle/compile.ts',
    'src/adapters/filesystem/arrival-worker.ts',
  ],
  format: 'esm',
  splitting: true,
  outExtension: { '.js': '.mjs' },
  // Some packages are CommonJS, and require what Node brings.
  banner: {
    js: "import{createRequire as requireInBundle}from'node:module';const require=requireInBundle(import.meta.url);",
  },
});
// One character of two bytes, which esbuild leaves in a tagged template, and V8 holds all of them in two: 4 MB.
const wide = /[^\u0000-\u00ff]/.exec(readFileSync(join(dist, 'program.cjs'), 'utf8'));
if (wide !== null) throw new Error(`the bundle holds "${wide[0]}": write it as an escape or an entity`);
// Read as they are.
for (const name of ['status.css', 'status.js']) {
  copyFileSync(join(root, 'src/adapters/http/status', name), join(dist, name));
}
const sbom = createSbom(root, Number(process.env['SOURCE_DATE_EPOCH'] ?? 0));
const bundled = bundledPackages(service.metafile).union(bundledPackages(commands.metafile));
const unlisted = bundled.difference(new Set(sbom.packages.map(({ name }) => name)));
if (unlisted.size > 0) throw new Error(`in the bundle, but no run-time dependency: ${[...unlisted].join(', ')}`);
writeFileSync(join(dist, 'sbom.spdx.json'), JSON.stringify(sbom, undefined, 1));
writeFileSync(join(dist, 'commit'), `${process.env['REVISION'] ?? commitOf(root) ?? 'unknown'}\n`);
// With these the packages may be given to others.
writeFileSync(join(dist, 'licences.txt'), licenceTexts(root));
// Options of Node's, a terminal, or coverage, which Node hands on to whomever is not said to go without, would make other
// code of it.
const env = { NODE_V8_COVERAGE: undefined };
const run = (...args: string[]): string =>
  execFileSync(process.execPath, args, { encoding: 'utf8', env, stdio: 'pipe' });
// It leaves behind what V8 made of it on the way.
run('--predictable', '--no-flush-bytecode', join(dist, 'compile.mjs'), 'serve', '--help');
process.stdout.write(`built registry-packages-proxy ${run(join(dist, 'start.mjs'), '--version').trim()} in dist/\n`);
