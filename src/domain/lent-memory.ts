/** Memory that its owner reuses, and that readers hold for a while instead of copying it. */

interface Loan {
  holders: number;
  readonly onReturned: () => void;
}

const loans = new WeakMap<ArrayBufferLike, Loan>();

/**
 * Lends the memory of the bytes. `onReturned` is called when the owner has called the result and all holders have released
 * it.
 */
export function lend({ buffer }: Uint8Array, onReturned: () => void): () => void {
  const loan = { holders: 1, onReturned };
  loans.set(buffer, loan);
  return () => {
    letGo(loan);
  };
}

/**
 * Keeps the memory of the bytes unchanged until the result is called, once. Returns undefined for memory that is not lent,
 * because its owner overwrites it soon.
 */
export function hold({ buffer }: Uint8Array): (() => void) | undefined {
  const loan = loans.get(buffer);
  if (loan === undefined || loan.holders === 0) return undefined;
  loan.holders++;
  return () => {
    letGo(loan);
  };
}

function letGo(loan: Loan): void {
  if (--loan.holders === 0) loan.onReturned();
}
