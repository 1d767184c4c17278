/** W3C Trace Context: the trace of a request, and the headers that carry it to a registry. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';

/** Later versions begin like version 00 and may continue after another dash; ff is invalid (section 2.2.2, Versioning). */
const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?$/;
/** Section 2.2.2.5: sampled and, since level 2, random-trace-id. All other flags must be zero. */
const KNOWN_FLAGS = 0x03;
/** Section 2.3.1.3, in level 2. */
const STATE_MEMBER =
  /^[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;
const MAX_STATE_MEMBERS = 32;
/** Section 2.3.1.5: this much must be passed on, and no more; longer members are removed first, then the last ones. */
const MAX_STATE = 512;
const LONG_MEMBER = 128;

/**
 * The trace of one request: the client's, or a new one. A new one begins with the first request to a registry, because its
 * ids cost more than a small hit can afford. All ids are lower-case hex digits.
 */
export class RequestTrace {
  #traceId: string | undefined;
  #spanId: string | undefined;
  #flags = '00';
  #state = '';

  /**
   * The parameters are the values of the two headers, empty if absent. An invalid traceparent counts as absent, and its
   * state is dropped (section 2.4).
   */
  constructor(traceparent: string, tracestate: string) {
    if (traceparent === '') return;
    const [, version, traceId, flags = '', rest] = TRACEPARENT.exec(traceparent) ?? [];
    if (traceId === undefined || (version === '00' && rest !== undefined)) return;
    this.#traceId = traceId;
    this.#flags = (parseInt(flags, 16) & KNOWN_FLAGS).toString(16).padStart(2, '0');
    this.#state = parseState(tracestate);
  }

  /** 32 digits; undefined while there is no trace. */
  get traceId(): string | undefined {
    return this.#traceId;
  }

  /** 16 digits: the span of this request, and the parent of the spans of registries, after the first request to one. */
  get spanId(): string | undefined {
    return this.#spanId;
  }

  /** The headers of all requests to registries that this request causes. */
  headers(): Readonly<Record<string, string>> {
    this.#traceId ??= randomBytes(16).toString('hex');
    this.#spanId ??= randomBytes(8).toString('hex');
    const traceparent = `00-${this.#traceId}-${this.#spanId}-${this.#flags}`;
    return this.#state === '' ? { traceparent } : { traceparent, tracestate: this.#state };
  }
}

/**
 * The trace of the running code: it follows a request into its work without a parameter (ADR 17). There is one for the
 * process, as for any asynchronous context. A download keeps the trace of the request that began it.
 */
export const traces = new AsyncLocalStorage<RequestTrace>();

/** The headers of a request to a registry; empty for work outside of a request. */
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
