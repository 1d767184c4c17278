import { TarLayerFiles } from '../../src/adapters/archive/tar-layer-files.ts';
import { layerFilesContract } from './layer-files.ts';

describe('TarLayerFiles', () => {
  layerFilesContract(() => new TarLayerFiles());
});
