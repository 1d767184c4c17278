/** W3C Trace Context: the trace that a request belongs to, and the headers that tell a registry of it. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';

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

/**
 * The trace of one request: the client's, or a new one when a registry has to be told of it and not before, since ids cost
 * what a small hit has not got. All ids are lower-case hex digits.
 */
export class RequestTrace {
  #traceId: string | undefined;
  #spanId: string | undefined;
  #flags = '00';
  #state = '';

  /** The values of the two headers, empty when absent. An unreadable one is no trace; its state is dropped (section 2.4). */
  constructor(traceparent: string, tracestate: string) {
    if (traceparent === '') return;
    const [, version, traceId, flags = '', rest] = TRACEPARENT.exec(traceparent) ?? [];
    if (traceId === undefined || (version === '00' && rest !== undefined)) return;
    this.#traceId = traceId;
    this.#flags = (parseInt(flags, 16) & KNOWN_FLAGS).toString(16).padStart(2, '0');
    this.#state = parseState(tracestate);
  }

  /** 32 digits; undefined while there is none. */
  get traceId(): string | undefined {
    return this.#traceId;
  }

  /** 16 digits: the part of this request in the trace, and so the parent of what registries make of it, once one was told. */
  get spanId(): string | undefined {
    return this.#spanId;
  }

  /** For a request to a registry: the same for all that this request causes. */
  headers(): Readonly<Record<string, string>> {
    this.#traceId ??= randomBytes(16).toString('hex');
    this.#spanId ??= randomBytes(8).toString('hex');
    const traceparent = `00-${this.#traceId}-${this.#spanId}-${this.#flags}`;
    return this.#state === '' ? { traceparent } : { traceparent, tracestate: this.#state };
  }
}

/**
 * The trace of the running code: it follows a request into the work that it begins, without a parameter (ADR 17). One for the
 * process, as asynchronous contexts are. A download keeps the trace of the request that began it.
 */
export const traces = new AsyncLocalStorage<RequestTrace>();

/** For a request to a registry; none for work that no request has begun. */
export function currentTraceHeaders(): Readonly<Record<string, string>> {
  return traces.getStore()?.headers() ?? {};
}

/** Undefined outside of a request, and for one without a trace. */
export function currentTraceId(): string | undefined {
  return traces.getStore()?.traceId;
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
