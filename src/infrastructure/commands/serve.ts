/** `serve`: from settings to a running service, and from a signal to a clean end. */
import type { Logger } from 'pino';
import type { AddressInfo } from 'node:net';
import { OciLayoutGateway } from '../../adapters/oci-layout/oci-layout-gateway.ts';
import { createContainer } from '../container/container.ts';
import { T } from '../container/tokens.ts';
import { createLogger, followLogLevel } from '../../adapters/log/logger.ts';
import type { Service } from '../lifecycle.ts';
import type { Settings } from '../settings.ts';
import {
  command,
  EXIT_CODE,
  EXIT_CODES,
  type ExitCode,
  type Output,
  SETTINGS_FLAGS,
  type Terminal,
} from '../../adapters/cli/command.ts';
import { boundOldGeneration, boundYoungGeneration, skipMaglev } from '../engine-memory.ts';
import { readServedSettings, readSettings } from '../load-settings.ts';

/** If more requests than this run after a turn of the event loop, most of them wait: 64 clients of small hits leave none. */
const FEW_RUNNING = 16;

export const SERVE = command({
  about: `A flag overrides the settings file; of two equal flags the last one counts. The log is JSON lines on standard output. \
After SIGTERM or SIGINT running responses may finish for at most server.shutdownTimeoutSeconds; a second signal ends them.`,
  flags: SETTINGS_FLAGS,
  examples: [
    { to: 'the tiny mirror of this repository', run: '--config config/demo.yaml' },
    {
      to: 'a registry of your own, on another port, with a small cache',
      run: '--config my.yaml --listen-address 127.0.0.1:5090 --cache-retention-size 200Mi',
    },
  ],
  exits: { 0: 'stopped by SIGTERM or SIGINT', 1: EXIT_CODES[1], 2: 'the log could not be written' },
  async run({ flags }, terminal) {
    const settings = readServedSettings(flags, terminal);
    const logger = createLogger(settings.log.level, terminal.stdout);
    if (flags.config !== undefined) followLogLevel(flags.config, () => readSettings(flags, terminal).log.level, logger);
    const end = Promise.withResolvers<ExitCode>();
    // After this error the state of the process is unknown.
    const onBug = (err: unknown): void => {
      logger.fatal({ err }, 'this is a bug');
      end.resolve(EXIT_CODE.refused);
    };
    process.on('uncaughtException', onBug);
    // By default, Node opens an inspector on the loopback of the host at SIGUSR1, and a local user could read passwords with it.
    process.on('SIGUSR1', () => undefined);
    live(settings, logger, terminal).then(end.resolve, onBug);
    return end.promise;
  },
});

async function live(settings: Settings, logger: Logger, terminal: Terminal): Promise<ExitCode> {
  const { version, environment, interrupted } = terminal;
  let service: Service;
  try {
    const container = await createContainer({ settings, logger, version, environment });
    service = container.get(T.SERVICE);
    const listening = await service.start();
    logger.info({ version, ...listening }, 'listening');
    // All code is loaded, so the young generation may grow, which serving-script.ts has prevented until now. With 1 MiB,
    // garbage collection takes a third of the time of a small hit.
    const admission = container.get(T.ADMISSION);
    boundYoungGeneration(() => {
      const { running, sending, waiting } = admission.usage;
      return Math.max(running, sending + waiting) > FEW_RUNNING;
    });
    boundOldGeneration();
    skipMaglev();
    await suggest(settings, listening, terminal.stderr);
  } catch (err) {
    logger.fatal({ err }, 'cannot start');
    return EXIT_CODE.refused;
  }
  await new Promise((resolve) => {
    if (interrupted.aborted) resolve(undefined);
    else interrupted.addEventListener('abort', resolve, { once: true });
  });
  logger.info('stopping');
  await service.stop();
  logger.info('stopped');
  return EXIT_CODE.done;
}

/** A mirror directory lists its images, so the log can suggest a command. */
async function suggest(
  { registry: { gateway, ociLayout } }: Settings,
  { address, family, port }: AddressInfo,
  stderr: Output,
): Promise<void> {
  if (gateway !== 'oci-layout') return;
  const [digest] = await new OciLayoutGateway(ociLayout.directory).list();
  if (digest === undefined) return;
  const host = family === 'IPv6' ? `[${address}]` : address;
  stderr.write(`\n  curl -fsS 'http://${host}:${String(port)}/package?digest=${digest}' -o package.tar.gz\n\n`);
}
