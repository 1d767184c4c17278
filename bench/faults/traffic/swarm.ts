/** Runs a limited number of clients at a time. */

/** Runs `work` for all items, `atOnce` at a time. The results have the order of the items. Rejects with the first rejection. */
export async function swarm<Item, Outcome>(
  items: readonly Item[],
  atOnce: number,
  work: (item: Item, index: number) => Promise<Outcome>,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const queue = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of queue) outcomes[index] = await work(item, index);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  return outcomes;
}

/** `1000 whole, 3 cut` */
export function tally(gots: readonly { readonly verdict: string }[]): string {
  const counts = new Map<string, number>();
  for (const { verdict } of gots) counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
  return [...counts].map(([verdict, count]) => `${String(count)} ${verdict}`).join(', ');
}
