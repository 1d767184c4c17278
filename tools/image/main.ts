/** `npm run image`: builds the image of the Dockerfile without a container engine. It uses the network only for Debian packages. */
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { findProgram } from '../../test/support/peers/binaries.ts';
import { createBase } from './base.ts';
import { parseContext, parseDockerfile } from './dockerfile.ts';
import { listPaths, writeOciImage } from './oci-image.ts';
import { runBuildStage, runFinalStage } from './stages.ts';

const project = join(import.meta.dirname, '../..');
const { values: flags } = parseArgs({
  options: { output: { type: 'string', default: join(project, '.cache/image') } },
});
const bubblewrap = findProgram('bwrap');
if (bubblewrap === undefined) throw new Error('bubblewrap is not installed: npm run peers installs it');
const places = {
  project,
  context: parseContext(readFileSync(join(project, '.dockerignore'), 'utf8')),
  source: join(flags.output, 'source'),
  root: join(flags.output, 'root'),
  bubblewrap,
};
const secondsSinceEpoch = Number(process.env['SOURCE_DATE_EPOCH'] ?? 0);
// All users can read the files of the image, because the umask of the builder has no effect on them.
process.umask(0o022);
const packages = join(flags.output, 'packages');

const dockerfile = readFileSync(join(project, 'Dockerfile'), 'utf8');
const [build, final] = parseDockerfile(dockerfile, { BASE_IMAGE: 'scratch' });
if (build === undefined || final === undefined) throw new Error('the Dockerfile does not have two stages');
// Old packages are removed, so that apt-get downloads the newest ones.
for (const directory of [places.source, places.root, packages]) {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
}
runBuildStage(build, places);
createBase(places.root, packages);
const base = listPaths(places.root);
const config = runFinalStage(final, places);
const added = new Set(listPaths(places.root)).difference(new Set(base));
const digest = await writeOciImage(join(flags.output, 'layout'), {
  layers: [base, [...added]],
  root: places.root,
  config,
  secondsSinceEpoch,
  name: config.Labels['org.opencontainers.image.version'] ?? '',
});
process.stdout.write(`${digest} in ${join(flags.output, 'layout')}, its files in ${places.root}\n`);
