/** W3C Trace Context: which trace a request belongs to, and what its registry is told of that. */
import { randomFillSync } from 'node:crypto';

/** Ids are lower-case hex digits, as the specification wants them. */
export interface Trace {
  /** 32 digits: the client's, or a new one. */
  readonly traceId: string;
  /** 16 digits: this request's part in the trace, and so the parent of whatever a registry makes of it. */
  readonly spanId: string;
  /** Two digits: whether the caller records the trace, and how its id was made. */
  readonly flags: string;
  /** What tracing systems want to be handed on, as it came; empty without a trace that it could belong to. */
  readonly state: string;
}

/** Later versions begin like version 00 and may go on behind another dash; ff is none (section 2.2.2, Versioning). */
const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?$/;
/** Section 2.2.2.5: sampled, and since level 2 random-trace-id. All others must be zero. */
const KNOWN_FLAGS = 0x03;
/** Section 2.3.1.3, as level 2 has it. */
const STATE_MEMBER =
  /^[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;
const MAX_STATE_MEMBERS = 32;
/** Section 2.3.1.5: so much must be handed on, and no more; longer members leave first, then the last ones. */
const MAX_STATE = 512;
const LONG_MEMBER = 128;

/** Of the two headers' values, empty when absent. What is not understood begins a new trace, without a state (section 2.4). */
export function traceOf(traceparent: string, tracestate: string): Trace {
  const ids = randomIds();
  const [, version = '', traceId, flags = '', rest] = TRACEPARENT.exec(traceparent) ?? [];
  if (traceId === undefined || (version === '00' && rest !== undefined)) {
    return { traceId: ids.slice(0, 32), spanId: ids.slice(32), flags: '00', state: '' };
  }
  const known = (parseInt(flags, 16) & KNOWN_FLAGS).toString(16).padStart(2, '0');
  return { traceId, spanId: ids.slice(32), flags: known, state: parseState(tracestate) };
}

/** For a request to a registry. */
export function traceHeaders({ traceId, spanId, flags, state }: Trace): Record<string, string> {
  const traceparent = `00-${traceId}-${spanId}-${flags}`;
  return state === '' ? { traceparent } : { traceparent, tracestate: state };
}

function parseState(text: string): string {
  if (text === '') return '';
  let members = text
    .split(',')
    .map((member) => member.trim())
    .filter((member) => member !== '');
  if (members.length > MAX_STATE_MEMBERS || !members.every((member) => STATE_MEMBER.test(member))) return '';
  if (members.join(',').length > MAX_STATE) members = members.filter(({ length }) => length <= LONG_MEMBER);
  while (members.join(',').length > MAX_STATE) members.pop();
  return members.join(',');
}

/** A trace's and a span's; drawn in advance, since asking the system for so few bytes at a time costs 5 µs. */
const ID_BYTES = 24;
const drawn = Buffer.alloc(256 * ID_BYTES);
let used = drawn.byteLength;

/** Nobody has ever drawn sixteen zeros. */
function randomIds(): string {
  if (used === drawn.byteLength) {
    randomFillSync(drawn);
    used = 0;
  }
  const start = used;
  used += ID_BYTES;
  return drawn.toString('hex', start, used);
}
