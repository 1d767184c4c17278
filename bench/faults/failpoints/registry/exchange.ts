/** One request to the scripted registry, and what may become of it. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Digest } from '../../../../src/domain/descriptor.ts';

/** The kind of request. */
export type Place = 'manifest' | 'blob' | 'token' | 'storage';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly body: Uint8Array;
}

export interface Exchange {
  readonly place: Place;
  /** Undefined for tokens. */
  readonly digest: Digest | undefined;
  /** 1 for the first request for this digest at this place; for tokens, of all of them. */
  readonly attempt: number;
  /** The first byte that is asked for. */
  readonly offset: number;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The honest answer; a part when a part is requested. */
  readonly honest: Answer;
  /** Writes bytes of a body, and counts them. */
  write(bytes: Uint8Array): void;
}

/** Replaces the honest answer. */
export type Behaviour = (exchange: Exchange) => void | Promise<void>;

/** Undefined lets the registry answer honestly, or the script that was set before. */
export type Script = (exchange: Exchange) => Behaviour | undefined;
