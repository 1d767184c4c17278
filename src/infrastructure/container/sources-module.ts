/** The sources that are asked before registries, loaded only where the settings have some. */
import type { Registry } from 'prom-client';
import { credentialLog, sourceLog } from '../../adapters/log/event-log.ts';
import { ObservedRegistryGateway, toAll, type UpstreamObserver } from '../../adapters/observers/observed-ports.ts';
import { sourceMetrics } from '../../adapters/prometheus/optional-metrics.ts';
import { FollowedCredential } from '../../adapters/sources/followed-credential.ts';
import { Mirror } from '../../adapters/sources/mirror.ts';
import { MirroredCatalog } from '../../adapters/sources/mirrored-catalog.ts';
import type { Source, SourceSwitch } from '../../adapters/sources/source.ts';
import { SourcesGateway } from '../../adapters/sources/sources-gateway.ts';
import type { BlobSizes, ImageCatalog, RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import type { Component } from '../lifecycle.ts';
import type { SharedBucket } from '../../adapters/s3/shared-bucket.ts';
import { openOciGateway } from './oci-gateway.ts';
import type { ModuleInputs } from './tokens.ts';

/** A mirror, and the component that must be started for it. */
interface Opened {
  readonly source: Mirror;
  readonly component?: Component;
}

/** The sources of the settings, in their order. */
export class ConfiguredSources {
  readonly #inputs: ModuleInputs;
  readonly #opened: readonly Opened[];

  /** @throws Error for a file that the settings name and that cannot be used */
  constructor(inputs: ModuleInputs) {
    this.#inputs = inputs;
    this.#opened = openMirrors(inputs);
  }

  /** The mirrors, and then the bucket, which is farther away and has the blobs of all registries. */
  with(bucket: SharedBucket | undefined): readonly Source[] {
    return bucket === undefined ? this.mirrors : [...this.mirrors, sourceOf(bucket)];
  }

  get mirrors(): readonly Mirror[] {
    return this.#opened.map(({ source }) => source);
  }

  /** The tags and sizes of mirrors, before those of the registry. */
  catalog(origin: ImageCatalog & BlobSizes): MirroredCatalog {
    return new MirroredCatalog(origin, this.mirrors);
  }

  get components(): readonly Component[] {
    return this.#opened.flatMap(({ component }) => component ?? []);
  }

  /** Creates the gateway that asks the sources before `origin`. `observe` gets the requests to each source. */
  before(
    origin: RegistryGateway,
    all: readonly Source[],
    observe: UpstreamObserver,
    metrics: Registry,
  ): SourcesGateway {
    const { logger, settings } = this.#inputs;
    const { patienceMilliseconds, minimumRate, restSeconds } = settings.registry.sources;
    const sources = all.map((source) => observed(source, observe));
    const observers: ((event: SourceSwitch) => void)[] = [sourceLog(logger)];
    const gateway = new SourcesGateway({
      origin,
      sources,
      limits: { patienceMs: patienceMilliseconds, minimumRate, restMs: restSeconds * 1000 },
      observe: toAll(observers),
    });
    const kinds = [...new Set(sources.map(({ kind }) => kind))];
    observers.push(sourceMetrics(metrics, kinds, () => gateway.sources()));
    return gateway;
  }
}

function openMirrors(inputs: ModuleInputs): Opened[] {
  const { logger, settings } = inputs;
  const { mirrors, timeouts } = settings.registry;
  // If the registry can be asked instead, requests to a mirror are not retried; otherwise they are, as those to a registry.
  const [impatient, patient] = [openOciGateway(inputs, 0), openOciGateway(inputs, timeouts.retrySeconds)];
  return mirrors.map((mirror) => {
    const gateway = mirror.fallback ? impatient : patient;
    if (mirror.files === undefined) return { source: new Mirror(mirror, gateway) };
    const credential = new FollowedCredential(mirror.files, credentialLog(logger, mirror.host));
    return { source: new Mirror(mirror, gateway, credential), component: credential };
  });
}

function sourceOf(bucket: SharedBucket): Source {
  return {
    kind: 'bucket',
    name: bucket.name,
    fallback: true,
    gateway: bucket.gateway,
    // A bucket stores blobs by their digests alone, so it serves the upstreams of all registries.
    locate: (upstream) => upstream,
    onDistrusted: bucket.distrust,
  };
}

function observed(source: Source, observe: UpstreamObserver): Source {
  return {
    kind: source.kind,
    name: source.name,
    fallback: source.fallback,
    gateway: new ObservedRegistryGateway(source.gateway, [observe], source.kind),
    locate: (upstream) => source.locate(upstream),
    onDistrusted: (digest, repair) => source.onDistrusted?.(digest, repair),
  };
}
