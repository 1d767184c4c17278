/** `verify` for the two kinds of directories of this project: caches and OCI image layouts. */
import { join } from 'node:path';
import { CommandFailure } from '../../adapters/cli/command.ts';
import { isThere, verifyCommand } from '../../adapters/cli/verify.ts';
import { Layout } from '../../adapters/filesystem/layout.ts';
import { blobsOf, isArchive, NOT_UNPACKED } from '../../adapters/oci-layout/layout.ts';
import { findReferenceFaults } from '../../adapters/oci-layout/reference-check.ts';
import { readSettings } from '../load-settings.ts';

export const VERIFY = verifyCommand({
  directoriesOf: (flags, terminal) => {
    const { store, registry } = readSettings(flags, terminal);
    return [
      ...(store.enabled ? [store.directory] : []),
      ...(registry.gateway === 'oci-layout' ? [registry.ociLayout.directory] : []),
    ];
  },
  open: (directory) => {
    if (isArchive(directory)) throw new CommandFailure(`${directory} ${NOT_UNPACKED}`);
    const cache = new Layout(directory).blobs;
    if (isThere(cache.path)) return { blobs: cache };
    if (isThere(join(directory, 'oci-layout'))) {
      return {
        blobs: blobsOf(directory),
        checkReferences: (sound, unsound) => findReferenceFaults(directory, sound, unsound),
      };
    }
    throw new CommandFailure(
      isThere(directory)
        ? `${directory}: neither a cache (no v1/blobs/sha256) nor an OCI image layout (no oci-layout)`
        : `${directory}: no such directory`,
    );
  },
});
