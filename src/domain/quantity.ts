/** Sizes as Kubernetes writes them (apimachinery, resource.Quantity): 1Gi, 500M, 1.5Gi, 1e9. */

const FACTORS: Readonly<Record<string, bigint>> = {
  k: 10n ** 3n,
  M: 10n ** 6n,
  G: 10n ** 9n,
  T: 10n ** 12n,
  P: 10n ** 15n,
  Ki: 2n ** 10n,
  Mi: 2n ** 20n,
  Gi: 2n ** 30n,
  Ti: 2n ** 40n,
  Pi: 2n ** 50n,
};

/** Returns whole bytes, rounded up as Kubernetes does; undefined if `text` is not a quantity or does not fit. */
export function parseQuantity(text: string): number | undefined {
  const match = /^(?:(\d{1,16})(?:\.(\d{0,9}))?|\.(\d{1,9}))(?:[eE]([+-]?\d{1,2})|([kMGTP]|[KMGTP]i))?$/.exec(
    text.trim(),
  );
  if (match === null) return undefined;
  const [, whole = '', decimals, decimalsAlone, exponent = '0', unit = ''] = match;
  const fraction = decimals ?? decimalsAlone ?? '';
  // Integers avoid rounding errors: as a float, 2.007k would be 2007.0000000000002, and so 2008.
  const shift = Number(exponent) - fraction.length;
  const divisor = 10n ** BigInt(Math.max(0, -shift));
  const dividend = BigInt(whole + fraction) * (FACTORS[unit] ?? 1n) * 10n ** BigInt(Math.max(0, shift));
  const bytes = Number((dividend + divisor - 1n) / divisor);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
