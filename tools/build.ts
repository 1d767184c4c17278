/** `npm run build`: bundles the service as `dist/start.mjs`, with its code cache and its SBOM. It runs without node_modules. */
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
 * The Kubernetes client does not declare that its modules have no side effects, so esbuild would include the models of all
 * kinds of objects. None of them is used, and they would take 4 MB of the idle process.
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
  // The files keep the names of the sources, by which they refer to each other.
  entryNames: '[name]',
  outdir: dist,
  bundle: true,
  platform: 'node',
  target: 'node24',
  minifyWhitespace: true,
  minifySyntax: true,
  // Identifiers are not shortened, because the names of error classes are used. `keepNames` would set the name of each closure
  // whenever it is created, which took 12 of the 45 us of a small hit.
  minifyIdentifiers: false,
  // A fixed path, because esbuild would also search all parent folders. The bundle must not depend on the place of the checkout.
  tsconfig: join(root, 'tsconfig.json'),
  preserveSymlinks: true,
  // Only development tools install it. `debug` uses it for colours and works without it.
  external: ['supports-color'],
  // Koa and its dependencies have three copies, each with a table of all media types.
  alias: { 'mime-types': createRequire(import.meta.resolve('koa')).resolve('mime-types') },
  plugins: [usedPartOfKubernetesClient],
  metafile: true,
} satisfies BuildOptions;

rmSync(dist, { recursive: true, force: true });
// Only a script can have a code cache, so the part that serves is a script, which start.ts loads.
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
  // The wrapper is in the file. If it were added when the file is loaded, both texts would be in memory.
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
  // Some packages are CommonJS and require built-in modules of Node.
  banner: {
    js: "import{createRequire as requireInBundle}from'node:module';const require=requireInBundle(import.meta.url);",
  },
});
// With one character outside of Latin-1 (esbuild does not escape it in a tagged template), V8 stores the whole text in two bytes
// for each character: 4 MB more.
const wide = /[^\u0000-\u00ff]/.exec(readFileSync(join(dist, 'program.cjs'), 'utf8'));
if (wide !== null) throw new Error(`the bundle contains "${wide[0]}": write it as an escape or an entity`);
// The service reads these files unchanged.
for (const name of ['status.css', 'status.js']) {
  copyFileSync(join(root, 'src/adapters/http/status', name), join(dist, name));
}
const sbom = createSbom(root, Number(process.env['SOURCE_DATE_EPOCH'] ?? 0));
const bundled = bundledPackages(service.metafile).union(bundledPackages(commands.metafile));
const unlisted = bundled.difference(new Set(sbom.packages.map(({ name }) => name)));
if (unlisted.size > 0) throw new Error(`in the bundle, but not a run-time dependency: ${[...unlisted].join(', ')}`);
writeFileSync(join(dist, 'sbom.spdx.json'), JSON.stringify(sbom, undefined, 1));
writeFileSync(join(dist, 'commit'), `${process.env['REVISION'] ?? commitOf(root) ?? 'unknown'}\n`);
// The licences of the packages require these texts.
writeFileSync(join(dist, 'licences.txt'), licenceTexts(root));
// Options of Node, a terminal or coverage would change the compiled code. Node passes NODE_V8_COVERAGE to child processes unless
// it is unset.
const env = { NODE_V8_COVERAGE: undefined };
const run = (...args: string[]): string =>
  execFileSync(process.execPath, args, { encoding: 'utf8', env, stdio: 'pipe' });
// This run writes the code cache.
run('--predictable', '--no-flush-bytecode', join(dist, 'compile.mjs'), 'serve', '--help');
process.stdout.write(`built registry-packages-proxy ${run(join(dist, 'start.mjs'), '--version').trim()} in dist/\n`);
