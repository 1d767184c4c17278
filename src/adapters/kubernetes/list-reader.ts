/** Parses a list of objects while its bytes arrive. Parsing 64 MiB at once would block all requests for most of a second. */
import { asObject } from '../../domain/descriptor.ts';

const [QUOTE, BACKSLASH] = [0x22, 0x5c];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];
/** The bytes between two items. */
const IGNORED = new Set(Buffer.from(', \t\r\n'));
const ITEMS = '"items"';

export class ListReader {
  /** The bytes of the document without its items. */
  readonly #frame: Uint8Array[] = [];
  readonly #onItem: (item: Record<string, unknown>) => void;
  /** The bytes of the current item. */
  #item: Uint8Array[] | undefined;
  #depth = 0;
  #isText = false;
  /** The number of backslashes at the end of the last chunk, inside of a string. */
  #backslashes = 0;
  /** The last string outside of items, unparsed: the key of the value that follows. */
  #key = '';
  #isInItems = false;

  constructor(onItem: (item: Record<string, unknown>) => void) {
    this.#onItem = onItem;
  }

  /** Reads the next bytes; calls `onItem` for each item that ends in them. @throws SyntaxError, TypeError */
  push(chunk: Uint8Array): void {
    /** The start of the bytes that neither the frame nor an item has yet. */
    let start = 0;
    for (let at = 0; at < chunk.byteLength;) {
      if (this.#isText) {
        at = this.#skipText(chunk, at);
        continue;
      }
      const byte = chunk[at++];
      if (this.#isBetweenItems && byte !== CLOSE_LIST) {
        if (byte === OPEN_OBJECT) {
          start = at - 1;
          this.#item = [];
        } else if (byte === undefined || !IGNORED.has(byte)) throw new TypeError('item must be an object');
        else {
          start = at;
          continue;
        }
      }
      if (byte === QUOTE) {
        this.#isText = true;
        if (this.#depth === 1) this.#key = '"';
      } else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
        this.#depth++;
        if (this.#depth !== 2 || byte !== OPEN_LIST || this.#key !== ITEMS) continue;
        this.#frame.push(chunk.slice(start, at));
        start = at;
        this.#isInItems = true;
      } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) {
        this.#depth--;
        if (this.#isBetweenItems && this.#item !== undefined) {
          this.#item.push(chunk.subarray(start, at));
          start = at;
          this.#endItem(this.#item);
        } else if (this.#depth === 1) this.#isInItems = false;
      }
    }
    if (start < chunk.byteLength) (this.#item ?? this.#frame).push(chunk.slice(start));
  }

  /** Returns the document without its items. @throws SyntaxError, TypeError */
  end(): Record<string, unknown> {
    return asObject(parse(this.#frame), 'answer');
  }

  get #isBetweenItems(): boolean {
    return this.#isInItems && this.#depth === 2;
  }

  #endItem(item: readonly Uint8Array[]): void {
    this.#item = undefined;
    this.#onItem(asObject(parse(item), 'item'));
  }

  /** Returns the end of the string or of the chunk. A quote after an odd number of backslashes belongs to the string. */
  #skipText(chunk: Uint8Array, from: number): number {
    let at = from;
    for (;;) {
      const quote = chunk.indexOf(QUOTE, at);
      const end = quote === -1 ? chunk.byteLength : quote;
      let first = end;
      while (first > at && chunk[first - 1] === BACKSLASH) first--;
      const backslashes = end - first + (first === at ? this.#backslashes : 0);
      this.#backslashes = quote === -1 ? backslashes : 0;
      if (this.#depth === 1)
        this.#key += Buffer.from(chunk.subarray(at, Math.min(end + 1, at + ITEMS.length))).toString('latin1');
      if (quote === -1) return end;
      if (backslashes % 2 === 0) {
        this.#isText = false;
        return quote + 1;
      }
      at = quote + 1;
    }
  }
}

function parse(chunks: readonly Uint8Array[]): unknown {
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}
