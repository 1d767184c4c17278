/** Counts images of icons whose bytes are not those of their digest, and tells of them, without the use case's knowing. */
import type { Counter } from 'prom-client';
import { type GetIcon, IconError, type IconRequest } from '../../application/get-icon.ts';
import type { Icon } from '../../application/kept-icons.ts';
import { isOneOf, type PackageError } from '../../domain/errors.ts';

export class MeteredIcons implements Pick<GetIcon, 'execute'> {
  readonly #icons: Pick<GetIcon, 'execute'>;
  readonly #mismatches: Counter;
  readonly #onMismatch: (error: PackageError) => void;

  constructor(
    icons: Pick<GetIcon, 'execute'>,
    mismatches: Counter,
    onMismatch: (error: PackageError) => void = () => undefined,
  ) {
    this.#icons = icons;
    this.#mismatches = mismatches;
    this.#onMismatch = onMismatch;
  }

  async execute(request: IconRequest): Promise<Icon> {
    try {
      return await this.#icons.execute(request);
    } catch (error) {
      if (error instanceof IconError && isOneOf(error.error, 'DIGEST_MISMATCH')) {
        this.#mismatches.inc();
        this.#onMismatch(error.error);
      }
      throw error;
    }
  }
}
