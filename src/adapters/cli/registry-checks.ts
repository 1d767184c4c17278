/** Asks the registries of the settings, each with its own account, whether they would give packages. */
import { digestOf } from '../../domain/descriptor.ts';
import { isOneOf } from '../../domain/errors.ts';
import type { RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import type { RepositoryPath } from '../../domain/reference.ts';
import type { Upstream } from '../../domain/upstream.ts';
import { formatError } from './format.ts';

export interface RegistryAnswer {
  /** `credentials.registries.0`. */
  readonly setting: string;
  readonly host: string;
  readonly outcome: 'answers' | 'refuses' | 'unreachable';
  /** Undefined when it answers. */
  readonly cause?: string;
}

/** For all registries at once. */
const PATIENCE_MS = 15_000;
/** A manifest that no registry has: to say so, a registry judges the account by its right to this repository. */
const ABSENT = digestOf(Buffer.from('check-config: no registry has a manifest with these bytes'));
/** In a registry that is configured without a path. */
const SOME_REPOSITORY = 'check-config' as RepositoryPath;

export function askRegistries(
  registries: readonly { readonly upstream: Upstream }[],
  gateway: Pick<RegistryGateway, 'fetchManifest'>,
): Promise<RegistryAnswer[]> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  return Promise.all(
    registries.map(async ({ upstream: { registry, repository = SOME_REPOSITORY } }, index): Promise<RegistryAnswer> => {
      const asked = { setting: `credentials.registries.${String(index)}`, host: registry.host };
      try {
        await gateway.fetchManifest({ registry, repository }, ABSENT, signal);
      } catch (error) {
        if (signal.aborted)
          return { ...asked, outcome: 'unreachable', cause: `no answer in ${String(PATIENCE_MS / 1000)} s` };
        const isAnswer = isOneOf(error, 'MANIFEST_UNKNOWN', 'NAME_UNKNOWN', 'BLOB_UNKNOWN');
        const outcome = isOneOf(error, 'UPSTREAM_DENIED') ? 'refuses' : 'unreachable';
        if (!isAnswer) return { ...asked, outcome, cause: formatError(error) };
      }
      return { ...asked, outcome: 'answers' };
    }),
  );
}
