/** Asks the registries of the settings, each with its own account, whether they would deliver packages. */
import { digestOf } from '../../domain/descriptor.ts';
import { isOneOf } from '../../domain/errors.ts';
import type { RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import type { RepositoryPath } from '../../domain/reference.ts';
import type { Upstream } from '../../domain/upstream.ts';
import { formatError } from './format.ts';

export interface RegistryAnswer {
  /** The name of the setting, such as `credentials.registries.0`. */
  readonly setting: string;
  readonly host: string;
  readonly outcome: 'answers' | 'refuses' | 'unreachable';
  /** Undefined if the registry answers. */
  readonly cause?: string;
}

/** The time limit for all registries together. */
const PATIENCE_MS = 15_000;
/**
 * The digest of a manifest that no registry has: before a registry says so, it checks the account's access to this
 * repository.
 */
const ABSENT = digestOf(Buffer.from('check-config: no registry has a manifest with these bytes'));
/** The repository for a registry that is configured without a path. */
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
