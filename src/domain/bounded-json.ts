/** Checks untrusted JSON before it is parsed: 4 MiB of brackets make 200 MiB of objects and block the process a second. */

/**
 * The largest depth of nesting. An image needs five levels; annotations and other additions to a manifest need only a few
 * more.
 */
const MAX_DEPTH = 64;
/** The largest number of values. An index of 1 000 manifests has about 15 000. */
const MAX_VALUES = 20_000;
/** The bytes of one step. A step takes at most 10 ms, even before its code is compiled. */
const STEP_BYTES = 512 * 1024;

const [QUOTE, BACKSLASH, COMMA] = [0x22, 0x5c, 0x2c];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

/** @throws SyntaxError, RangeError for JSON that is too deep or has too many values. */
export function parseBoundedJson(bytes: Uint8Array, maxValues = MAX_VALUES): unknown {
  const steps = weighingSteps(bytes, maxValues);
  while (steps.next().done !== true);
  return parseWeighedJson(bytes);
}

/** Parses bytes that have passed `weighingSteps`; as in Go, bytes that are not UTF-8 become U+FFFD. @throws SyntaxError */
export function parseWeighedJson(bytes: Uint8Array): unknown {
  return JSON.parse(new TextDecoder().decode(bytes));
}

/**
 * Counts depth and values by brackets and commas, in steps. In UTF-8 no byte of another character equals one of them.
 * @throws RangeError
 */
export function* weighingSteps(bytes: Uint8Array, maxValues = MAX_VALUES): Generator<undefined, void, undefined> {
  let depth = 0;
  let values = 1;
  let stepEnd = STEP_BYTES;
  for (let at = 0; at < bytes.byteLength; at++) {
    if (at >= stepEnd) {
      yield;
      stepEnd = at + STEP_BYTES;
    }
    const byte = bytes[at];
    if (byte === QUOTE) {
      at = endOfText(bytes, at);
    } else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      depth++;
      values++;
    } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) {
      depth--;
    } else if (byte === COMMA) {
      values++;
    }
    if (depth > MAX_DEPTH) throw new RangeError(`nested more than ${String(MAX_DEPTH)} deep`);
    if (values > maxValues) throw new RangeError(`more than ${String(maxValues)} values`);
  }
}

/** Returns the offset of the closing quote of the text that begins at `start`, or the end of the bytes if there is none. */
function endOfText(bytes: Uint8Array, start: number): number {
  let at = start + 1;
  while (at < bytes.byteLength && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
  return at;
}
