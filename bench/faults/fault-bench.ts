/** The parts of a fault: a scripted registry, services, clients, seeded chance, and invariants that are always checked. */
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { FakeKubeApi } from '../../test/support/fake-kube-api.ts';
import type { Workspace } from '../workspace.ts';
import { FaultedService } from './faulted-service.ts';
import { strangeDials, violationsAtRest, violationsOfStop } from './validate/at-rest.ts';
import { Random } from './traffic/random.ts';
import { type RegistryOptions, ScriptedRegistry } from './failpoints/registry/scripted-registry.ts';

export interface ServiceOptions {
  /** Its default registry; without one the settings must name where packages come from. */
  readonly registry?: ScriptedRegistry;
  /** The size of the cache, in bytes. */
  readonly maxBytes?: number;
  /** Laid over ours, key by key. */
  readonly settings?: object;
  readonly environment?: Readonly<Record<string, string>>;
  readonly flags?: readonly string[];
  /** Another program than the sources: the bundle, which starts faster. */
  readonly main?: string;
  /** A command that runs the service, in the same process. */
  readonly wrapper?: readonly string[];
  /** The directory of another service that was stopped or killed; a new one when absent. */
  readonly home?: string;
}

const MAX_BYTES = 256 * 1024 * 1024;

export class FaultBench {
  /** Drawn from before anything runs at the same time. */
  readonly random: Random;
  readonly workspace: Workspace;
  readonly isLong: boolean;
  /** Violations beside those that the fault itself finds; `report` adds to them. */
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

  /** How often, in the quick mode and in the long one. */
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

  /** With a file for `--kubeconfig`. */
  async startKubeApi(): Promise<{ readonly api: FakeKubeApi; readonly kubeconfig: string }> {
    const api = await FakeKubeApi.start();
    this.onClear(() => api.close());
    this.allowDial(`127.0.0.1:${String(api.port)}`);
    const kubeconfig = join(await this.workspace.folder('kubeconfig'), 'config');
    await writeFile(kubeconfig, api.config.exportConfig());
    return { api, kubeconfig };
  }

  /** `address:port` that a service may dial, besides the registries that were started here. */
  allowDial(host: string): void {
    this.#allowedDials.add(host);
  }

  /** Something that is to be freed behind the services and before the folders; also, as far as that is synchronous, at an exit. */
  onClear(free: () => void | Promise<void>): void {
    this.#frees.push(free);
  }

  /** Resolves when it listens. It is looked at when the fault is over, then stopped. */
  async startService(options: ServiceOptions = {}): Promise<FaultedService> {
    const { registry, maxBytes = MAX_BYTES, environment = {}, flags = [] } = options;
    const home = options.home ?? (await this.workspace.folder('service'));
    const settings = laidOver(
      {
        // As many clients at a time as a fault has.
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

  /** One that keeps packages and one that passes them through: what a registry does must do no harm in either. */
  async startPair(options: ServiceOptions): Promise<readonly FaultedService[]> {
    return [await this.startService(options), await this.startService({ ...options, flags: ['--disable-cache'] })];
  }

  /** Looks at all services that the fault has left running, and stops them; then at what all of them have dialled. */
  async conclude(): Promise<void> {
    for (const registry of this.#registries) registry.closeIdle();
    for (const service of this.#services) {
      if (service.hasCrashed) this.report(`the service has ended: ${service.running.output.slice(-2000)}`);
      if (service.isRunning) this.violations.push(...(await violationsAtRest(service)));
      if (service.isRunning) this.violations.push(...(await violationsOfStop(service)));
      this.violations.push(...(await strangeDials(service, this.#allowedDials)));
    }
  }

  /** Frees what the fault held, however it ended. */
  async clear(): Promise<void> {
    for (const service of this.#services) if (service.isRunning) await service.kill();
    await Promise.all(this.#registries.map((registry) => registry.close()));
    for (const free of this.#frees.splice(0)) await free();
    await this.workspace.clear();
  }

  /** How often the cache was looked at while the fault lasted. */
  get samples(): number {
    return this.#services.reduce((total, { budget }) => total + budget.count, 0);
  }

  /** Synchronous, for a bench that is about to exit. */
  killAll(): void {
    for (const service of this.#services) if (service.isRunning) service.signal('SIGKILL');
    for (const free of this.#frees) void free();
  }
}

/** Objects are merged; everything else replaces. */
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
