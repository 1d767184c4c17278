/** TLS contexts: one for each distinct set of CAs, shared by all registries that have it, freed when no connection uses it. */
import { createHash } from 'node:crypto';
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls';

/** A certificate that an operator lists is an anchor: an issuing CA or the server's own certificate, as in Go and curl. */
const OPTIONS = { minVersion: 'TLSv1.2', allowPartialTrustChain: true } as const;

export class TlsContexts {
  /** Sockets hold their context; a registry without connections holds none. */
  readonly #contexts = new Map<string, WeakRef<SecureContext>>();
  readonly #freed = new FinalizationRegistry<string>((key) => {
    if (this.#contexts.get(key)?.deref() === undefined) this.#contexts.delete(key);
  });

  /** How many are in memory, or were until a moment ago. */
  get size(): number {
    return this.#contexts.size;
  }

  /** `ca` are PEM certificates that are trusted besides the default roots, or without them. */
  get(ca: readonly string[], isAlone = false): SecureContext {
    const anchors = [...new Set(ca)].sort();
    const key = `${String(isAlone)} ${createHash('sha256').update(anchors.join('\n')).digest('base64')}`;
    const known = this.#contexts.get(key)?.deref();
    if (known !== undefined) return known;
    const context = isAlone ? createSecureContext({ ...OPTIONS, ca: anchors }) : createContext(anchors);
    this.#contexts.set(key, new WeakRef(context));
    this.#freed.register(context, key);
    return context;
  }
}

/**
 * Adds `anchors` to the default roots, which OpenSSL keeps parsed once for the process. As the option `ca`, roots and
 * anchors together are parsed again: 1.25 MiB and 30 ms for each context instead of 40 KiB and 1 ms (Node 24.21).
 */
function createContext(anchors: readonly string[]): SecureContext {
  if (anchors.length === 0) return createSecureContext(OPTIONS);
  const context = createSecureContext(OPTIONS);
  const native = context.context as { addCACert?: (pem: string) => void };
  if (native.addCACert === undefined) {
    // Node does not document the method; the option does the same at its price.
    return createSecureContext({ ...OPTIONS, ca: [...getCACertificates('default'), ...anchors] });
  }
  for (const anchor of anchors) native.addCACert(anchor);
  return context;
}
