/** Settings as they are written, without secrets. */
import { userOf } from '../../domain/credential.ts';
import type { Settings } from '../settings.ts';

const HIDDEN = '[secret]';
/** The fields of a registry that are shown; all others are hidden, new ones too. */
const SHOWN = ['repo', 'default', 'scheme', 'ca'];

/** `written` is what has been parsed as `settings`. */
export function printableSettings(
  written: Record<string, unknown>,
  { credentials: { registries } }: Settings,
): Record<string, unknown> {
  const credentials = written['credentials'] as { readonly registries: readonly Record<string, unknown>[] };
  return {
    ...written,
    credentials: {
      ...credentials,
      registries: credentials.registries.map((registry, index) => {
        const credential = registries[index]?.upstream.registry.credential;
        const user = credential && userOf(credential);
        return Object.fromEntries(
          Object.entries(registry).map(([name, value]) => {
            if (name === 'username') return [name, user ?? HIDDEN];
            return [name, SHOWN.includes(name) ? value : HIDDEN];
          }),
        );
      }),
    },
  };
}
