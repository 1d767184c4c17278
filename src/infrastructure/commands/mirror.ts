/** `mirror` with the adapters of this process. */
import { makeDirectories } from '../../adapters/blobs/blob-file.ts';
import { type HeldDirectory, holdDirectory } from '../../adapters/blobs/directory-lock.ts';
import { CommandFailure } from '../../adapters/cli/command.ts';
import { formatError } from '../../adapters/cli/format.ts';
import { mirrorCommand } from '../../adapters/cli/mirror.ts';
import { ImageArchive } from '../../adapters/oci-layout/image-archive.ts';
import { isArchive, NOT_UNPACKED } from '../../adapters/oci-layout/layout.ts';
import { OciLayoutWriter } from '../../adapters/oci-layout/oci-layout-writer.ts';
import { parseUpstream } from '../../domain/upstream.ts';
import { T } from '../container/tokens.ts';
import { readSettings } from '../load-settings.ts';
import { withComponents } from '../with-components.ts';

export const MIRROR = mirrorCommand(async (flags, terminal, work) => {
  const settings = readSettings(flags, terminal);
  const { platform } = settings.registry;
  const archive = flags.from === undefined ? undefined : await openArchive(flags.from, terminal.interrupted);
  try {
    return await withLayout(flags.output, (layout) => {
      if (archive !== undefined) return work({ ...portsOf(archive), layout, platform });
      const components = [T.GATEWAY_COMPONENT, T.CREDENTIALS_COMPONENT];
      return withComponents(settings, components, terminal, (container) =>
        work({
          gateway: container.get(T.REGISTRY_GATEWAY),
          credentials: container.get(T.CREDENTIAL_PROVIDER),
          onFailure: container.get(T.SENDERS).name,
          layout,
          platform,
        }),
      );
    });
  } finally {
    archive?.close();
  }
});

async function openArchive(path: string, signal: AbortSignal): Promise<ImageArchive> {
  try {
    return await ImageArchive.open(path, signal);
  } catch (cause) {
    signal.throwIfAborted();
    throw new CommandFailure(`${path}: ${formatError(cause)}`, { cause });
  }
}

/** An archive needs no registry, so each name leads to it. */
function portsOf(archive: ImageArchive) {
  const upstream = parseUpstream({ repo: 'archive.invalid' });
  return { gateway: archive, credentials: { resolve: () => Promise.resolve(upstream) }, images: archive.images };
}

/** Locks the layout for this process until it ends. */
async function withLayout(output: string, work: (layout: OciLayoutWriter) => Promise<boolean>): Promise<boolean> {
  const { layout, held } = await openLayout(output);
  let isComplete = false;
  try {
    isComplete = await work(layout);
    return isComplete;
  } finally {
    await layout.close(isComplete);
    held.release();
  }
}

async function openLayout(output: string): Promise<{ layout: OciLayoutWriter; held: HeldDirectory }> {
  if (isArchive(output)) throw new CommandFailure(`${output} ${NOT_UNPACKED}`);
  try {
    await makeDirectories(output);
    const held = await holdDirectory(output, 'another process is writing there');
    return { layout: await OciLayoutWriter.open(output), held };
  } catch (cause) {
    throw new CommandFailure(`${output}: ${formatError(cause)}`, { cause });
  }
}
