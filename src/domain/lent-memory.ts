/** Memory that its owner uses again and again, and that others hold for a while instead of copying it. */

interface Loan {
  holders: number;
  readonly onReturned: () => void;
}

const loans = new WeakMap<ArrayBufferLike, Loan>();

/** Lends the memory of the bytes. `onReturned` is called once the owner has called the result and all others have let go, too. */
export function lend({ buffer }: Uint8Array, onReturned: () => void): () => void {
  const loan = { holders: 1, onReturned };
  loans.set(buffer, loan);
  return () => {
    letGo(loan);
  };
}

/** The memory of the bytes stays as it is until the result is called, once. Undefined when it is not lent, but overwritten soon. */
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
