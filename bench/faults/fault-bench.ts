/** The tools of a fault: scripted registries, services, seeded randomness, and the checks of the invariants. */
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { FakeKubeApi } from '../../test/support/fake-kube-api.ts';
import type { Workspace } from '../workspace.ts';
import { FaultedService } from './faulted-service.ts';
import { strangeDials, violationsAtRest, violationsOfStop } from './validate/at-rest.ts';
import { Random } from './traffic/random.ts';
import { type RegistryOptions, ScriptedRegistry } from './failpoints/registry/scripted-registry.ts';

export interface ServiceOptions {
  /** The default registry; if absent, `settings` must configure a source of packages. */
  readonly registry?: ScriptedRegistry;
  /** The size of the cache, in bytes. */
  readonly maxBytes?: number;
  /** Merged into the settings of the bench, key by key. */
  readonly settings?: object;
  readonly environment?: Readonly<Record<string, string>>;
  readonly flags?: readonly string[];
  /** The program to run instead of the sources: the bundle, which starts faster. */
  readonly main?: string;
  /** A command before the command line of the service. It must replace itself by the service (`exec`). */
  readonly wrapper?: readonly string[];
  /** The directory of a service that was stopped or killed; a new directory if absent. */
  readonly home?: string;
}

const MAX_BYTES = 256 * 1024 * 1024;

export class FaultBench {
  /** A fault takes its values from this source before it starts concurrent work, so that a seed repeats them. */
  readonly random: Random;
  readonly workspace: Workspace;
  readonly isLong: boolean;
  /** Violations of invariants, in addition to those that the fault returns. */
  readonly violations: string[] = [];
  readonly #services: FaultedService[] = [];
  readonly #registries: ScriptedRegistry[] = [];
  readonly #frees: (() => void | Promise<void>)[] = [];
  readonly #allowedDials = new Set<string>();

  constructor(workspace: Workspace, seed: string, isLong: boolean) {
    this.workspace = workspace;
    this.random = new Random(seed);
    this.isLong = isLong;
  }

  /** The number of repetitions in the quick mode or in the long mode. */
  readonly times = (quick: number, long: number): number => (this.isLong ? long : quick);

  readonly report = (violation: string): void => {
    this.violations.push(violation);
  };

  async startRegistry(options: RegistryOptions = {}): Promise<ScriptedRegistry> {
    const registry = await ScriptedRegistry.start(options, this.report);
    this.#registries.push(registry);
    for (const host of registry.hosts) this.allowDial(host);
    return registry;
  }

  /** Starts an API server and writes a file for `--kubeconfig`. */
  async startKubeApi(): Promise<{ readonly api: FakeKubeApi; readonly kubeconfig: string }> {
    const api = await FakeKubeApi.start();
    this.onClear(() => api.close());
    this.allowDial(`127.0.0.1:${String(api.port)}`);
    const kubeconfig = join(await this.workspace.folder('kubeconfig'), 'config');
    await writeFile(kubeconfig, api.config.exportConfig());
    return { api, kubeconfig };
  }

  /** Allows the services to connect to this `address:port`, in addition to the registries of this bench. */
  allowDial(host: string): void {
    this.#allowedDials.add(host);
  }

  /** Registers a resource. The bench releases it after the services and before the folders; at an exit only its synchronous part. */
  onClear(free: () => void | Promise<void>): void {
    this.#frees.push(free);
  }

  /** Resolves when the service listens. After the fault the bench checks the service and stops it. */
  async startService(options: ServiceOptions = {}): Promise<FaultedService> {
    const { registry, maxBytes = MAX_BYTES, environment = {}, flags = [] } = options;
    const home = options.home ?? (await this.workspace.folder('service'));
    const settings = laidOver(
      {
        // Enough places for all clients of a fault.
        server: { maxSocketMemory: '16Gi' },
        store: { directory: 'cache', maxSize: maxBytes },
        ...(registry !== undefined && {
          registry: { trustedRealms: registry.tokenHost === '' ? [] : [registry.tokenHost] },
          credentials: { registries: [registry.entry] },
        }),
      },
      options.settings ?? {},
    ) as { readonly store: { readonly directory: string; readonly enabled?: boolean } };
    const keeps = settings.store.enabled !== false && !flags.includes('--disable-cache');
    const service = new FaultedService({
      home,
      settings,
      maxBytes,
      environment,
      flags,
      ...(options.main !== undefined && { main: options.main }),
      ...(options.wrapper !== undefined && { wrapper: options.wrapper }),
      cacheDirectory: keeps ? resolve(home, settings.store.directory) : undefined,
      onViolation: this.report,
    });
    this.#services.push(service);
    await service.start();
    return service;
  }

  /** A service with a cache and one without: a fault of a registry must do no harm in either. */
  async startPair(options: ServiceOptions): Promise<readonly FaultedService[]> {
    return [await this.startService(options), await this.startService({ ...options, flags: ['--disable-cache'] })];
  }

  /** Checks and stops all services that still run; then checks the connection attempts of all services. */
  async conclude(): Promise<void> {
    for (const registry of this.#registries) registry.closeIdle();
    for (const service of this.#services) {
      if (service.hasCrashed) this.report(`the service has ended: ${service.running.output.slice(-2000)}`);
      if (service.isRunning) this.violations.push(...(await violationsAtRest(service)));
      if (service.isRunning) this.violations.push(...(await violationsOfStop(service)));
      this.violations.push(...(await strangeDials(service, this.#allowedDials)));
    }
  }

  /** Releases all resources of the fault, also after a failure. */
  async clear(): Promise<void> {
    for (const service of this.#services) if (service.isRunning) await service.kill();
    await Promise.all(this.#registries.map((registry) => registry.close()));
    for (const free of this.#frees.splice(0)) await free();
    await this.workspace.clear();
  }

  /** The number of measurements of the cache during the fault. */
  get samples(): number {
    return this.#services.reduce((total, { budget }) => total + budget.count, 0);
  }

  /** Releases resources synchronously, before the bench exits. */
  killAll(): void {
    for (const service of this.#services) if (service.isRunning) service.signal('SIGKILL');
    for (const free of this.#frees) void free();
  }
}

/** Merges objects; any other value replaces the previous one. */
function laidOver(below: object, above: object): object {
  const merged: Record<string, unknown> = { ...below };
  for (const [key, value] of Object.entries(above)) {
    const under = merged[key];
    merged[key] = isPlain(value) && isPlain(under) ? laidOver(under, value) : value;
  }
  return merged;
}

function isPlain(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
