/** `npm run build`: the service without node_modules, as `dist/start.mjs`, and what V8 compiles of it. */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');

rmSync(dist, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  // The names are those of the sources, by which they find each other.
  entryPoints: ['src/infrastructure/start.ts', 'src/adapters/filesystem/hash-worker.ts'],
  entryNames: '[name]',
  outdir: dist,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  minify: true,
  // Errors are told apart by their names.
  keepNames: true,
  // Some packages are CommonJS, and require what Node brings.
  banner: {
    js: "import{createRequire as requireInBundle}from'node:module';const require=requireInBundle(import.meta.url);",
  },
});
// It says what it is, and leaves behind what V8 made of it on the way.
const version = execFileSync(process.execPath, [join(dist, 'start.mjs'), '--version'], { encoding: 'utf8' });
process.stdout.write(`built registry-packages-proxy ${version.trim()} in dist/\n`);
