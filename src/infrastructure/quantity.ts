/** Sizes as Kubernetes writes them (apimachinery, resource.Quantity): 1Gi, 500M, 1.5Gi, 1e9. */

const FACTORS: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
};

/** Whole bytes, rounded up as Kubernetes does; undefined when `text` is not a quantity or not a size that fits. */
export function parseQuantity(text: string): number | undefined {
  const match = /^(\d{1,15}(?:\.\d{0,9})?|\.\d{1,9})(?:([eE][+-]?\d{1,2})|([kMGTP]|[KMGTP]i))?$/.exec(text.trim());
  if (match === null) return undefined;
  const [, number = '', exponent = '', unit = ''] = match;
  const bytes = Math.ceil(Number(number + exponent) * (FACTORS[unit] ?? 1));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
