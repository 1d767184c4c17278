/** Preloaded into the service: at each SIGUSR2 it fills HEAP_SHARE of the heap and blocks the event loop for STALL_MS. */
import { getHeapStatistics } from 'node:v8';

const STALL_MS = Number(process.env['STALL_MS'] ?? 0);
/** The share of V8's heap that is filled. */
const HEAP_SHARE = Number(process.env['HEAP_SHARE'] ?? 0);
const PIECE_SLOTS = 100_000;

const ballast: number[][] = [];

process.on('SIGUSR2', () => {
  while (usedShare() < HEAP_SHARE) ballast.push(new Array<number>(PIECE_SLOTS).fill(0.5));
  const until = performance.now() + STALL_MS;
  while (performance.now() < until);
});

function usedShare(): number {
  const { used_heap_size, heap_size_limit } = getHeapStatistics();
  return used_heap_size / heap_size_limit;
}
