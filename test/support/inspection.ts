/** The state of an idle service with an empty cache, with the changes of a test. */
import type { Inspection } from '../../src/adapters/http/status/parts.ts';

export function inspectionOf(known: Partial<Inspection> = {}): Inspection {
  return {
    store: {
      usage: {
        bytes: 0,
        maxBytes: 1024 ** 3,
        limitBytes: 1024 ** 3,
        failures: {},
        entries: 0,
        evicted: 0,
        damaged: 0,
        scrubbedBytes: 0,
      },
      list: () => [],
    },
    packages: { known: () => [] },
    downloads: {
      slots: { max: 64, running: 0, idle: 0, queued: 0, revoked: 0 },
      list: () => [],
    },
    credentials: { sources: () => [], registries: () => [] },
    upstreams: { answers: () => [] },
    requests: {
      outcomes: { hit: 0, miss: 0, joined: 0, bypass: 0 },
      failures: () => [],
      lastHour: () => [],
      requestFor: () => undefined,
    },
    ...known,
  };
}
