import { TarLayerFiles } from '../../src/adapters/archive/tar-layer-files.ts';
import { describeLayerFiles } from './layer-files.ts';

describe('TarLayerFiles', () => {
  describeLayerFiles(() => new TarLayerFiles());
});
