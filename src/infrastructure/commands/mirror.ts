/** `mirror` with the adapters of this process. */
import { mkdir } from 'node:fs/promises';
import { type HeldDirectory, holdDirectory } from '../../adapters/blobs/directory-lock.ts';
import { CommandFailure } from '../../adapters/cli/command.ts';
import { formatError } from '../../adapters/cli/format.ts';
import { mirrorCommand } from '../../adapters/cli/mirror.ts';
import { isArchive, NOT_UNPACKED } from '../../adapters/oci-layout/layout.ts';
import { OciLayoutWriter } from '../../adapters/oci-layout/oci-layout-writer.ts';
import { T } from '../container/tokens.ts';
import { readSettings } from '../load-settings.ts';
import { withComponents } from '../with-components.ts';

export const MIRROR = mirrorCommand(async (flags, terminal, work) => {
  const settings = readSettings(flags, terminal);
  const { layout, held } = await openLayout(flags.output);
  let isComplete = false;
  try {
    const components = [T.GATEWAY_COMPONENT, T.CREDENTIALS_COMPONENT];
    isComplete = await withComponents(settings, components, terminal, (container) =>
      work({
        gateway: container.get(T.REGISTRY_GATEWAY),
        credentials: container.get(T.CREDENTIAL_PROVIDER),
        layout,
        platform: settings.registry.platform,
      }),
    );
    return isComplete;
  } finally {
    await layout.close(isComplete);
    held.release();
  }
});

/** For this process alone, until it ends. */
async function openLayout(output: string): Promise<{ layout: OciLayoutWriter; held: HeldDirectory }> {
  if (isArchive(output)) throw new CommandFailure(`${output} ${NOT_UNPACKED}`);
  try {
    await mkdir(output, { recursive: true });
    const held = await holdDirectory(output, 'another process is writing there');
    return { layout: await OciLayoutWriter.open(output), held };
  } catch (cause) {
    throw new CommandFailure(`${output}: ${formatError(cause)}`, { cause });
  }
}
