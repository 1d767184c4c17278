/** JSON of strangers, weighed before it is parsed: 4 MiB of brackets are 200 MiB of objects and hold up everybody for a second. */

/** Five levels are an image's own; annotations and what others add to a manifest have no more than a few besides. */
const MAX_DEPTH = 64;
/** An index of 1 000 manifests has about 15 000. */
const MAX_VALUES = 20_000;
/** Weighed in 10 ms at most, by code that has not been compiled yet, too. */
const STEP_BYTES = 512 * 1024;

const [QUOTE, BACKSLASH, COMMA] = [0x22, 0x5c, 0x2c];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

/** @throws SyntaxError, TypeError for bytes that are no text, RangeError for what is too deep or has too many values. */
export function parseBoundedJson(bytes: Uint8Array, maxValues = MAX_VALUES): unknown {
  const steps = weighingSteps(bytes, maxValues);
  while (steps.next().done !== true);
  return parseWeighedJson(bytes);
}

/** For bytes that have passed `weighingSteps`. @throws SyntaxError, TypeError as `parseBoundedJson` */
export function parseWeighedJson(bytes: Uint8Array): unknown {
  return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
}

/**
 * Counts what brackets and commas promise, in steps. In UTF-8 no byte of another character looks like one of them.
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

/** Where the text that begins at `start` has its closing quote; the end of all bytes when it has none. */
function endOfText(bytes: Uint8Array, start: number): number {
  let at = start + 1;
  while (at < bytes.byteLength && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
  return at;
}
