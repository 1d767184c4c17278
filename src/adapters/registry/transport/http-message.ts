/** A request to a registry, its answer, and the authorization of each host on the way between them. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Body } from '../body.ts';
import type { Asked } from '../upstream-errors.ts';

export interface HttpRequest {
  readonly asked: Asked;
  readonly url: URL;
  /** All hosts on the way get them, so none of them is a secret. */
  readonly headers: Readonly<Record<string, string>>;
  /** Without it no host is shown anything. */
  readonly authorize?: AuthorizeHost;
  /** For so long it is repeated, instead of the settings' time. */
  readonly patienceMs?: number;
  /** Whether a refused connection ends it, as where another server can be asked. */
  readonly isRefusalFinal?: boolean;
  /** Its body may be large. */
  readonly isBulk?: boolean;
  /** Sent by POST to this URL only: a form holds a secret, and 307 and 308 would take it along (RFC 9110, 15.4.8). */
  readonly form?: Readonly<Record<string, string>>;
}

export interface HttpResponse {
  /** The host that answered, which is another one behind a redirect. */
  readonly asked: Asked;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The caller reads or destroys it. */
  readonly body: Body;
}

/** Chooses the authorization of the host of a URL, which may be the registry or the target of a redirect. */
export type AuthorizeHost = (url: URL) => HostAuthorization;

export interface HostAuthorization {
  /** The Authorization header for a request that has not been challenged. */
  readonly header: string | undefined;
  /** Whether the host may see the configured credential. Only then a refusal is one of the credential. */
  readonly isTrusted: boolean;
  /**
   * Resolves with the header that answers a 401 to a request that showed `used`. Rejects with UpstreamDeniedError when
   * there is nothing better to show.
   */
  readonly answer?: (challenges: string, used: string | undefined, signal: AbortSignal) => Promise<string>;
  /**
   * For a registry that hides content from a request without authorization, instead of challenging. Resolves with
   * undefined when there is nothing to show, and rejects as `answer` does.
   */
  readonly reveal?: (signal: AbortSignal) => Promise<RevealingHeader | undefined>;
  /** Whether the registry has hidden content before, so that it is shown a header at once. */
  readonly isHiding?: boolean;
}

/** An Authorization header that is on trial. */
export interface RevealingHeader {
  readonly header: string;
  /** Called when the registry shows content to this header. */
  readonly confirm: () => void;
}
