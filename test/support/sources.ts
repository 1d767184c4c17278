/** A gateway over mirrors that are fake registries, and the switches between sources that it reports. */
import { Mirror, type MirrorSettings } from '../../src/adapters/sources/mirror.ts';
import type { Source, SourceLimits, SourceSwitch } from '../../src/adapters/sources/source.ts';
import { SourcesGateway } from '../../src/adapters/sources/sources-gateway.ts';
import type { RegistryGateway } from '../../src/domain/ports/registry-gateway.ts';
import { makeRegistryGateway } from './registry-gateway.ts';

/** Generous limits, because a machine under load is slow; tests of time-outs set their own. */
const LIMITS: SourceLimits = { patienceMs: 5000, minimumRate: 0, restMs: 30_000 };
const TIMEOUTS = { headersTimeoutMs: 500, idleTimeoutMs: 500, retryTimeoutMs: 0 };

export interface Sourced {
  readonly gateway: SourcesGateway;
  readonly switches: SourceSwitch[];
  /** The switches as `source reason`. */
  readonly reasons: () => string[];
}

export function mirrorSettings(host: string): MirrorSettings {
  return {
    of: '*',
    scheme: 'http',
    host,
    root: 'v2',
    ca: [],
    files: undefined,
    namespaceParameter: true,
    fallback: true,
  };
}

export function mirrorOf(host: string, settings: Partial<MirrorSettings> = {}, timeouts: object = {}): Mirror {
  return new Mirror({ ...mirrorSettings(host), ...settings }, makeRegistryGateway({ ...TIMEOUTS, ...timeouts }));
}

export function makeSources(
  origin: RegistryGateway,
  sources: readonly Source[],
  limits: Partial<SourceLimits> = {},
  now?: () => number,
): Sourced {
  const switches: SourceSwitch[] = [];
  const gateway = new SourcesGateway({
    origin,
    sources,
    limits: { ...LIMITS, ...limits },
    observe: (event) => {
      switches.push(event);
    },
    ...(now && { now }),
  });
  return { gateway, switches, reasons: () => switches.map(({ source, reason }) => `${source.name} ${reason}`) };
}
