/** Many trials of one fault: an image whose registry misbehaves, a client that requests it, and what the client may get. */
import type { TestImage } from '../../../test/support/image.ts';
import type { Place, Script } from '../failpoints/registry/exchange.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import type { FaultedService } from '../faulted-service.ts';
import type { GetOptions, Got } from './client.ts';
import { swarm } from './swarm.ts';

/** `failed`: visibly, by a status or a connection that breaks; `either`: whole or failed, but nothing wrong. */
export type Allowed = 'whole' | 'failed' | 'either';

export interface Trial {
  /** The failpoint, in words. */
  readonly name: string;
  readonly service: FaultedService;
  readonly image: TestImage;
  /** The request that the failpoint is about. */
  readonly place: Exclude<Place, 'token' | 'storage'>;
  /** For the digest of the manifest or of the layer, as `place` says. */
  readonly failpoint: Script;
  readonly options?: GetOptions;
  /** With a function: the sentence that says how the answer is not as expected, or undefined. */
  readonly allowed: Allowed | ((got: Got) => string | undefined);
}

export interface Trials {
  readonly gots: readonly Got[];
  readonly violations: readonly string[];
  /** The requests of all trials for content at the place of their failpoint. */
  readonly requests: number;
}

/**
 * Runs so many trials at a time. A trial is made when its turn comes, so that a thousand images are not in memory
 * together; its image is withdrawn behind it. `check` sees the requests of one trial at its place.
 */
export async function runTrials(
  registry: ScriptedRegistry,
  makers: readonly (() => Trial)[],
  atOnce: number,
  check: (requests: number, trial: Trial) => string | undefined = () => undefined,
): Promise<Trials> {
  const violations: string[] = [];
  let total = 0;
  const gots = await swarm(makers, atOnce, async (make) => {
    const trial = make();
    const { name, service, image, place, failpoint, options, allowed } = trial;
    const { digest } = (place === 'manifest' ? image.manifest : image.layer).descriptor;
    registry.publish(image);
    registry.script(digest, failpoint);
    const got = await service.get(image, options);
    const requests = registry.requests(place, digest);
    registry.withdraw(image);
    total += requests;
    const wrong = typeof allowed === 'function' ? allowed(got) : unexpected(got, allowed);
    const found = [wrong, check(requests, trial)].filter((one) => one !== undefined);
    violations.push(...found.map((one) => `${name}: ${one}`));
    return got;
  });
  return { gots, violations, requests: total };
}

/** The sentence that says how an answer is not what is allowed; undefined when it is. */
export function unexpected(got: Got, allowed: Allowed): string | undefined {
  const became = got.verdict === 'cut' || got.verdict === 'refused' ? 'failed' : got.verdict;
  const isAllowed = became === allowed || (allowed === 'either' && (became === 'whole' || became === 'failed'));
  return isAllowed ? undefined : `${got.verdict}, status ${String(got.status)}: ${got.why}`;
}
