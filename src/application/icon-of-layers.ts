/** Finds the icon of a package in the layers of its image, as an unpacked image would show it. */
import type { Descriptor } from '../domain/descriptor.ts';
import { InvalidContentError } from '../domain/errors.ts';
import type { LayerEntry, LayerFiles, UnpackingBudget } from '../domain/ports/layer-files.ts';
import { Verifier } from '../domain/verifier.ts';

/** The names of icons, the best one first. */
const NAMES = ['docs/icon.svg', 'docs/icon.png', 'docs/icon.jpg', 'docs/icon.jpeg'] as const;
type IconName = (typeof NAMES)[number];

const FOLDER = 'docs';
/** Hides its whole folder in the layers below (image-spec, layer.md, "Opaque Whiteout"). */
const OPAQUE = '.wh..wh..opq';
const WHITEOUT = '.wh.';
const MAX_ICON_BYTES = 4 * 1024 ** 2;
/** The limit of the packed bytes of all layers that are read for one icon. */
const MAX_PACKED_BYTES = 256 * 1024 ** 2;
const MAX_UNPACKED_BYTES = 1024 ** 3;

export interface IconFile {
  readonly name: IconName;
  readonly bytes: Uint8Array;
}

export interface LayerSource {
  readonly files: LayerFiles;
  /** The bytes of a layer, not yet verified. */
  readonly open: (layer: Descriptor) => Promise<AsyncIterable<Uint8Array>>;
  readonly signal: AbortSignal;
}

/** The icons in one layer, and the names that it decides: the names of its entries, and those that it hides below. */
interface SeenLayer {
  readonly icons: ReadonlyMap<IconName, Uint8Array | 'too large'>;
  readonly decided: ReadonlySet<IconName>;
}

/**
 * Reads the layers from the top until the icon is certain, and verifies each layer before it uses its content. Rejects with
 * InvalidContentError if there is no icon or a limit is exceeded, and with DigestMismatchError.
 */
export async function iconOfLayers(layers: readonly Descriptor[], source: LayerSource): Promise<IconFile> {
  const budget: UnpackingBudget = { bytes: MAX_UNPACKED_BYTES };
  const icons = new Map<IconName, Uint8Array | 'too large'>();
  const open = new Set<IconName>(NAMES);
  // Each layer is read once. Images often have the same empty layer several times.
  const wanted = new Map(layers.toReversed().map((layer) => [layer.digest, layer])).values();
  let packedBytes = 0;
  for (const layer of wanted) {
    packedBytes += layer.size;
    if (packedBytes > MAX_PACKED_BYTES) {
      throw new InvalidContentError(`layers above the icon have more than ${String(MAX_PACKED_BYTES)} bytes`);
    }
    const seen = await readLayer(layer, budget, source);
    for (const name of open) {
      const icon = seen.icons.get(name);
      if (icon !== undefined) icons.set(name, icon);
      if (seen.decided.has(name)) open.delete(name);
    }
    const best = NAMES.find((name) => icons.has(name) || open.has(name));
    if (best === undefined || icons.has(best)) break;
  }
  return chosen(icons);
}

function chosen(icons: ReadonlyMap<IconName, Uint8Array | 'too large'>): IconFile {
  const name = NAMES.find((candidate) => icons.has(candidate));
  const bytes = name && icons.get(name);
  if (name === undefined || bytes === undefined) throw new InvalidContentError(`image has none of ${NAMES.join(', ')}`);
  if (bytes === 'too large') throw new InvalidContentError(`${name} has more than ${String(MAX_ICON_BYTES)} bytes`);
  return { name, bytes };
}

async function readLayer(
  layer: Descriptor,
  budget: UnpackingBudget,
  { files, open, signal }: LayerSource,
): Promise<SeenLayer> {
  const verifier = new Verifier(layer);
  const source = (await open(layer))[Symbol.asyncIterator]();
  /** The chunks stay open when the reader leaves this iteration. */
  async function* rest(): AsyncGenerator<Uint8Array, void, undefined> {
    for (let next = await source.next(); next.done !== true; next = await source.next()) {
      verifier.update(next.value);
      yield next.value;
    }
  }
  try {
    // The layer is verified first, because a broken archive is a property of the layer only if its bytes are right.
    const seen = await see(files.list(rest(), { budget, signal })).catch((error: unknown) => {
      if (error instanceof InvalidContentError) return error;
      throw error;
    });
    const unread = rest();
    while ((await unread.next()).done !== true);
    verifier.verify();
    if (seen instanceof InvalidContentError) throw seen;
    return seen;
  } finally {
    await source.return?.();
  }
}

/** The last of several entries with one name counts, as in an unpacked archive. Links are never followed. */
async function see(entries: AsyncIterable<LayerEntry>): Promise<SeenLayer> {
  const icons = new Map<IconName, Uint8Array | 'too large'>();
  const decided = new Set<IconName>();
  for await (const entry of entries) {
    for (const name of NAMES) {
      if (isReplaced(name, entry)) icons.delete(name);
      else if (!isHiddenBelow(name, entry.path)) continue;
      decided.add(name);
    }
    const icon = NAMES.find((name) => name === entry.path);
    if (icon !== undefined && entry.kind === 'file') icons.set(icon, await contentOf(entry));
  }
  return { icons, decided };
}

/** Whether this entry replaces the icon of that name, in this layer and below. */
function isReplaced(name: IconName, { kind, path }: LayerEntry): boolean {
  return path === name || (path === FOLDER && kind !== 'directory');
}

/** A whiteout has no effect on its own layer. */
function isHiddenBelow(name: IconName, path: string): boolean {
  const file = name.slice(FOLDER.length + 1);
  return [OPAQUE, `${WHITEOUT}${FOLDER}`, `${FOLDER}/${OPAQUE}`, `${FOLDER}/${WHITEOUT}${file}`].includes(path);
}

async function contentOf({ size, bytes }: LayerEntry): Promise<Uint8Array | 'too large'> {
  if (size > MAX_ICON_BYTES) return 'too large';
  const content = new Uint8Array(size);
  let at = 0;
  for await (const chunk of bytes) {
    content.set(chunk, at);
    at += chunk.byteLength;
  }
  return content;
}
