/** The port to the files in a layer. */
export interface LayerFile {
  /** As the archive names it, without a leading `./` or `/`. It is never used as a path of this machine. */
  readonly path: string;
  /** Bytes of the file. */
  readonly size: number;
  /** The bytes, each chunk the caller's own; to be read before the next file is asked for, or not at all. */
  readonly bytes: AsyncIterable<Uint8Array>;
}

export interface LayerLimits {
  /** Bytes that the archive may have, unpacked, up to the last file that is asked for. */
  readonly maxUnpackedBytes: number;
  /** Ends the reading with its reason. */
  readonly signal: AbortSignal;
}

export interface LayerFiles {
  /**
   * The regular files of a layer in the order of its archive: a tar, plain or packed by gzip or zstd, which the bytes
   * themselves tell. Links and devices are left out. Reads at most some MiB further than the caller does, and a chunk of
   * `layer` is not used after the next one is asked for. Rejects with InvalidContentError when the bytes are no such archive, end too
   * soon or exceed a limit, and with what reading the layer rejects with.
   */
  list(layer: AsyncIterable<Uint8Array>, limits: LayerLimits): AsyncIterable<LayerFile>;
}
