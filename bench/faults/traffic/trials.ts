/** Runs many trials of one fault. A trial has an image, the behaviour of its registry, a client, and the allowed answers. */
import type { TestImage } from '../../../test/support/image.ts';
import type { Place, Script } from '../failpoints/registry/exchange.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import type { FaultedService } from '../faulted-service.ts';
import type { GetOptions, Got } from './client.ts';
import { swarm } from './swarm.ts';

/** `failed`: an error status or a broken connection. `either`: whole or failed. */
export type Allowed = 'whole' | 'failed' | 'either';

export interface Trial {
  /** The description of the failpoint. */
  readonly name: string;
  readonly service: FaultedService;
  readonly image: TestImage;
  /** The kind of request that the failpoint affects. */
  readonly place: Exclude<Place, 'token' | 'storage'>;
  /** The script for the digest of the manifest or of the layer, depending on `place`. */
  readonly failpoint: Script;
  readonly options?: GetOptions;
  /** The allowed verdicts, or a function that returns a sentence about an unexpected answer, else undefined. */
  readonly allowed: Allowed | ((got: Got) => string | undefined);
}

export interface Trials {
  readonly gots: readonly Got[];
  readonly violations: readonly string[];
  /** The requests of all trials for content at the place of their failpoint. */
  readonly requests: number;
}

/**
 * Runs `atOnce` trials at a time. A trial is made just before it runs and its image is withdrawn afterwards, so that a
 * thousand images are not in memory together. `check` gets the requests of one trial that its failpoint affects.
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

/** A sentence about an answer that is not allowed; undefined if it is allowed. */
export function unexpected(got: Got, allowed: Allowed): string | undefined {
  const became = got.verdict === 'cut' || got.verdict === 'refused' ? 'failed' : got.verdict;
  const isAllowed = became === allowed || (allowed === 'either' && (became === 'whole' || became === 'failed'));
  return isAllowed ? undefined : `${got.verdict}, status ${String(got.status)}: ${got.why}`;
}
