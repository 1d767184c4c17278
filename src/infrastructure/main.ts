/** From the command line to a running service, and from a signal to a clean end. */
import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { OciLayoutGateway } from '../adapters/oci-layout/oci-layout-gateway.ts';
import { HELP, parseCommandLine, UsageError } from './cli.ts';
import { createContainer } from './container/container.ts';
import { mergeSettings, readSettingsFile, SettingsError } from './load-settings.ts';
import { createLogger } from './logger.ts';
import type { Service } from './service.ts';
import type { Settings } from './settings.ts';
import type { Surroundings } from './surroundings.ts';
import { SERVICE } from './container/tokens.ts';

/** Where package.json and config/ are, whether this runs as a source or as a bundle. */
const ROOT = dirname(findPackageJSON('..', import.meta.url) ?? '');

// Not awaited: the bundle is a script (start.ts).
main(process.argv.slice(2)).catch((error: unknown) => {
  if (!(error instanceof UsageError || error instanceof SettingsError)) throw error;
  process.stderr.write(`${error.message}\n${error instanceof UsageError ? 'See --help.\n' : ''}`);
  process.exit(1);
});

async function main(args: readonly string[]): Promise<void> {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  const command = parseCommandLine(args);
  switch (command.kind) {
    case 'help':
      process.stdout.write(HELP);
      return;
    case 'version':
      process.stdout.write(`${version}\n`);
      return;
    case 'serve': {
      const files = [join(ROOT, 'config/default.yaml'), ...(command.config === undefined ? [] : [command.config])];
      await serve(mergeSettings([...files.map(readSettingsFile), command.flags]), version);
    }
  }
}

async function serve(settings: Settings, version: string): Promise<void> {
  const logger = createLogger(settings.log.level, process.stdout);
  process.on('uncaughtException', (err) => {
    logger.fatal({ err }, 'this is a bug');
    process.exit(1);
  });
  // Else Node would answer it with an inspector on the loopback of the host, for whoever wants to see our passwords.
  process.on('SIGUSR1', () => undefined);
  const service = await start({ settings, logger, version, environment: process.env });
  await new Promise<void>((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
  // From now on a second signal ends the process at once.
  logger.info('stopping');
  await service.stop();
  logger.info('stopped');
  process.exit(0);
}

async function start(surroundings: Surroundings): Promise<Service> {
  const { settings, logger, version } = surroundings;
  try {
    const service = createContainer(surroundings).get(SERVICE);
    const listening = await service.start();
    logger.info({ version, ...listening }, 'listening');
    await suggest(settings, listening);
    return service;
  } catch (err) {
    logger.fatal({ err }, 'cannot start');
    process.exit(1);
  }
}

/** A mirror knows what it holds, so whoever tries it by hand gets a line to paste. */
async function suggest(
  { registry: { gateway, ociLayout } }: Settings,
  { address, family, port }: AddressInfo,
): Promise<void> {
  if (gateway !== 'oci-layout') return;
  const [digest] = await new OciLayoutGateway(ociLayout.directory).list();
  if (digest === undefined) return;
  const host = family === 'IPv6' ? `[${address}]` : address;
  process.stderr.write(`\n  curl -fsS 'http://${host}:${String(port)}/package?digest=${digest}' -o package.tar.gz\n\n`);
}
