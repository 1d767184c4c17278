/** Max-min fair rates, which TCP flows on shared links approach if they last long enough (Bertsekas, Data Networks, 6.5.2). */

export interface Demand {
  /** The number of flows with these properties, which all have the same rate. */
  readonly flows: number;
  /** The highest rate of a flow in bytes per second. */
  readonly limit: number;
  /** The indexes of the links that each flow uses. */
  readonly links: readonly number[];
}

/** Returns the rate of one flow of each demand. No flow can become faster unless a slower flow becomes slower. */
export function maxMinRates(demands: readonly Demand[], capacities: readonly number[]): number[] {
  const rates = demands.map(() => 0);
  const left = [...capacities];
  let open = demands.map((_, index) => index).filter((index) => (demands[index]?.flows ?? 0) > 0);
  while (open.length > 0) {
    const flowsOn = countFlows(open, demands, left.length);
    const shares = open.map((index) => share(demands[index], left, flowsOn));
    // The flows with the smallest share have reached the limit of their link or their own; the others share the rest.
    const lowest = Math.min(...shares);
    const rest: number[] = [];
    open.forEach((index, at) => {
      const demand = demands[index];
      if (demand === undefined) return;
      if ((shares[at] ?? 0) > lowest) {
        rest.push(index);
        return;
      }
      rates[index] = lowest;
      for (const link of demand.links) left[link] = Math.max(0, (left[link] ?? 0) - lowest * demand.flows);
    });
    open = rest;
  }
  return rates;
}

function countFlows(open: readonly number[], demands: readonly Demand[], links: number): number[] {
  const counts = new Array<number>(links).fill(0);
  for (const index of open) {
    const { flows = 0, links: crossed = [] } = demands[index] ?? {};
    for (const link of crossed) counts[link] = (counts[link] ?? 0) + flows;
  }
  return counts;
}

function share(demand: Demand | undefined, left: readonly number[], flowsOn: readonly number[]): number {
  let lowest = demand?.limit ?? 0;
  for (const link of demand?.links ?? []) lowest = Math.min(lowest, (left[link] ?? 0) / (flowsOn[link] ?? 1));
  return lowest;
}
