/** `npm run docs`: builds a site with search from the documents, with VitePress. A dead link fails the build. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** VitePress is not a dependency, because it would add 102 MB and 75 packages to each `npm ci`. */
const VITEPRESS = 'vitepress@1.6.4';
const root = join(import.meta.dirname, '..');
const site = join(root, '.cache/docs');
const source = join(site, 'source');

interface Item {
  readonly text: string;
  readonly link: string;
}

/** Returns the links of each table of docs/README.md, in its order, with the heading of the table. */
function sidebar(): { readonly text: string; readonly items: readonly Item[] }[] {
  const [, ...parts] = readFileSync(join(root, 'docs/README.md'), 'utf8').split(/^## /m);
  return parts.map((part) => ({
    text: part.split('\n', 1)[0] ?? '',
    items: [...part.matchAll(/\[([^\]]+)\]\(([\w-]+\.md)\)/g)].map(([, text = '', page = '']) => ({
      text: text.charAt(0).toUpperCase() + text.slice(1),
      link: `/docs/${page.replace(/\.md$/, '')}`,
    })),
  }));
}

rmSync(site, { recursive: true, force: true });
const tracked = execFileSync('git', ['ls-files', '-z', '*.md', 'docs'], { cwd: root, encoding: 'utf8' });
for (const path of tracked.split('\0').filter(Boolean)) {
  mkdirSync(dirname(join(source, path)), { recursive: true });
  cpSync(join(root, path), join(source, path));
}
const config = {
  title: 'registry-packages-proxy',
  outDir: join(site, 'site'),
  rewrites: { 'README.md': 'index.md', 'docs/README.md': 'docs/index.md', 'docs/adr/README.md': 'docs/adr/index.md' },
  themeConfig: { search: { provider: 'local' }, sidebar: sidebar(), outline: [2, 3] },
};
// Links to folders and to files that are not pages point into the repository; test/architecture/docs.test.ts checks them.
const ignored =
  '[/\\.(?:ya?ml|json|sh|ts|mjs|cfg|gotmpl)$/, /^http:\\/\\/localhost/, /\\/(?:runbooks|schemas|LICENSE)\\/?(?:index)?$/]';
mkdirSync(join(source, '.vitepress'), { recursive: true });
writeFileSync(
  join(source, '.vitepress/config.mjs'),
  `export default { ...${JSON.stringify(config)}, ignoreDeadLinks: ${ignored} };\n`,
);
writeFileSync(join(source, 'package.json'), '{"private":true,"type":"module"}\n');
writeFileSync(join(source, 'tsconfig.json'), '{}\n');
// Vite treats a path without a leading dot as the name of a package.
const status = join(source, 'docs/status-page.md');
writeFileSync(status, readFileSync(status, 'utf8').replaceAll('="images/', '="./images/'));
execFileSync('npx', ['--yes', VITEPRESS, 'build', source], { cwd: site, stdio: 'inherit' });
process.stdout.write(`the site is in ${config.outDir}: npx http-server ${config.outDir}\n`);
