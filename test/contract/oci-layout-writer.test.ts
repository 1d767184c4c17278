import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OciLayoutWriter } from '../../src/adapters/oci-layout/oci-layout-writer.ts';
import { digestHex } from '../../src/domain/descriptor.ts';
import { describeImageLayout } from './image-layout.ts';

describeImageLayout('OciLayoutWriter', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'oci-layout-'));
  const layout = await OciLayoutWriter.open(directory);
  return {
    layout,
    damage: (digest, bytes) => writeFile(join(directory, 'blobs/sha256', digestHex(digest)), bytes),
    close: async () => {
      await layout.close(true);
      await rm(directory, { recursive: true });
    },
  };
});
