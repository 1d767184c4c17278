/** The port to the files in a layer. */
export interface LayerEntry {
  /** `other` is the kind of links and devices. */
  readonly kind: 'file' | 'directory' | 'other';
  /**
   * The path in the archive, without a leading `./` or `/` and without a trailing `/`. It is never used as a path of this
   * machine.
   */
  readonly path: string;
  /** The size of the file in bytes. */
  readonly size: number;
  /**
   * The bytes; each chunk is valid until the next one is requested. They may be skipped, or read before the next entry is
   * requested.
   */
  readonly bytes: AsyncIterable<Uint8Array>;
}

/** The number of bytes that may still be unpacked; all layers of an image share one budget. */
export interface UnpackingBudget {
  bytes: number;
}

export interface LayerLimits {
  /** Reduced while the archive is unpacked, up to the last requested entry. */
  readonly budget: UnpackingBudget;
  /** Aborting it ends the reading with its reason. */
  readonly signal: AbortSignal;
}

export interface LayerFiles {
  /**
   * Yields the entries of a layer in the order of its archive. The archive is a tar, plain or compressed with gzip or zstd;
   * the first bytes tell which. A layer without entries is empty or has only zeros, as some tools write it. The reader is at
   * most some MiB ahead of the caller, and does not use a chunk of `layer` after it has requested the next one. Rejects with
   * InvalidContentError if the bytes are not such an archive, end too soon or exceed the budget, and with the error of
   * reading the layer.
   */
  list(layer: AsyncIterable<Uint8Array>, limits: LayerLimits): AsyncIterable<LayerEntry>;
}
