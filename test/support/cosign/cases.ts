/** The ways in which cosign signs an image, each with its expected verdict. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { SignatureVerdict } from '../../../src/domain/ports/signature-verifier.ts';
import { makeIndex, makePackage, type TestImage, type TestIndex } from '../image.ts';

const run = promisify(execFile);

export interface CosignCase {
  readonly name: string;
  readonly version: 2 | 3;
  readonly command: 'sign' | 'attest';
  readonly flags: readonly string[];
  readonly signer: 'trusted' | 'stranger';
  readonly verdict: SignatureVerdict['kind'];
}

const OFFLINE = { 2: ['--tlog-upload=false'], 3: ['--tlog-upload=false', '--use-signing-config=false'] } as const;
const SIGN = { command: 'sign', signer: 'trusted', verdict: 'valid' } as const;

export const COSIGN_CASES: readonly CosignCase[] = [
  { ...SIGN, name: 'cosign 2', version: 2, flags: OFFLINE[2] },
  { ...SIGN, name: 'cosign 2 as a referrer', version: 2, flags: [...OFFLINE[2], '--registry-referrers-mode=oci-1-1'] },
  { ...SIGN, name: 'cosign 2 with a bundle', version: 2, flags: [...OFFLINE[2], '--new-bundle-format'] },
  { ...SIGN, name: 'cosign 3', version: 3, flags: OFFLINE[3] },
  { ...SIGN, name: 'cosign 3 without a bundle', version: 3, flags: [...OFFLINE[3], '--new-bundle-format=false'] },
  { ...SIGN, name: 'cosign 3 with an empty signing config', version: 3, flags: ['--signing-config=signing.json'] },
  { ...SIGN, name: 'cosign 2 by a stranger', version: 2, flags: OFFLINE[2], signer: 'stranger', verdict: 'invalid' },
  { ...SIGN, name: 'cosign 3 by a stranger', version: 3, flags: OFFLINE[3], signer: 'stranger', verdict: 'invalid' },
  { ...SIGN, name: 'an attestation of cosign 2', version: 2, command: 'attest', flags: OFFLINE[2], verdict: 'missing' },
  { ...SIGN, name: 'an attestation of cosign 3', version: 3, command: 'attest', flags: OFFLINE[3], verdict: 'invalid' },
];

/** The image of a case by its place in the list; all images differ. */
export function imageOf(place: number): TestImage {
  return makePackage(1000, 100 + place);
}

/** An index to sign as in the first case. */
export function signedIndex(): TestIndex {
  return makeIndex([{ image: makePackage(1000, 99), platform: { os: 'linux', architecture: 'amd64' } }]);
}

/** The programs of each version of cosign, and two key pairs in a directory. */
export class Cosign {
  readonly #programs: Readonly<Record<2 | 3, string>>;
  readonly #home: string;

  private constructor(programs: Readonly<Record<2 | 3, string>>, home: string) {
    this.#programs = programs;
    this.#home = home;
  }

  static async open(programs: Readonly<Record<2 | 3, string>>, home: string): Promise<Cosign> {
    const cosign = new Cosign(programs, home);
    for (const signer of ['trusted', 'stranger']) {
      await cosign.#run(2, ['generate-key-pair', `--output-key-prefix=${signer}`]);
    }
    const mediaType = 'application/vnd.dev.sigstore.signingconfig.v0.2+json';
    await writeFile(join(home, 'signing.json'), JSON.stringify({ mediaType }));
    await writeFile(join(home, 'predicate.json'), '{}');
    return cosign;
  }

  /** PEM. */
  get publicKey(): string {
    return join(this.#home, 'trusted.pub');
  }

  async sign({ version, command, flags, signer }: CosignCase, reference: string): Promise<void> {
    const predicate = command === 'attest' ? ['--predicate=predicate.json', '--type=custom'] : [];
    const registry = ['--allow-insecure-registry', '--allow-http-registry'];
    await this.#run(version, [command, `--key=${signer}.key`, '--yes', ...predicate, ...registry, ...flags, reference]);
  }

  async #run(version: 2 | 3, args: readonly string[]): Promise<void> {
    const env = { ...process.env, HOME: this.#home, COSIGN_PASSWORD: '', COSIGN_EXPERIMENTAL: '1' };
    await run(this.#programs[version], args, { cwd: this.#home, env, timeout: 60_000 });
  }
}
