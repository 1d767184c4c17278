/** One request to the scripted registry, and the behaviours that can answer it. */
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
  /** Undefined for a request for a token. */
  readonly digest: Digest | undefined;
  /** 1 for the first request for this digest at this place; requests for tokens are counted together. */
  readonly attempt: number;
  /** The first requested byte. */
  readonly offset: number;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The honest answer; a part if the request has a range. */
  readonly honest: Answer;
  /** Writes bytes of a body, and counts them. */
  write(bytes: Uint8Array): void;
}

/** Replaces the honest answer. */
export type Behaviour = (exchange: Exchange) => void | Promise<void>;

/** Undefined: the previous script decides, or the registry answers honestly. */
export type Script = (exchange: Exchange) => Behaviour | undefined;
