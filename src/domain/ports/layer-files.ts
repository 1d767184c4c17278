/** The port to the files in a layer. */
export interface LayerEntry {
  /** `other` stands for links and devices. */
  readonly kind: 'file' | 'directory' | 'other';
  /** As the archive names it, without a leading `./` or `/` and without a trailing `/`. It is never used as a path of this machine. */
  readonly path: string;
  /** Bytes of the file. */
  readonly size: number;
  /** The bytes, each chunk valid until the next one is asked for; to be read before the next entry is asked for, or not at all. */
  readonly bytes: AsyncIterable<Uint8Array>;
}

/** Bytes that may yet be unpacked; all layers of an image draw on the same one. */
export interface UnpackingBudget {
  bytes: number;
}

export interface LayerLimits {
  /** Reduced as the archive is unpacked, up to the last entry that is asked for. */
  readonly budget: UnpackingBudget;
  /** Ends the reading with its reason. */
  readonly signal: AbortSignal;
}

export interface LayerFiles {
  /**
   * The entries of a layer in the order of its archive: a tar, plain or packed by gzip or zstd, which the bytes themselves
   * tell. A layer without entries is empty or holds zeros, as some tools write it. Reads at most some MiB further than the
   * caller does, and a chunk of `layer` is not used after the next one is asked for. Rejects with InvalidContentError when
   * the bytes are no such archive, end too soon or exceed the budget, and with the error of reading the layer.
   */
  list(layer: AsyncIterable<Uint8Array>, limits: LayerLimits): AsyncIterable<LayerEntry>;
}
