/** For directories that the service makes when it starts. */
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

/** The directory itself, or that one above it which there is. */
export function nearestDirectory(directory: string): string {
  let nearest = resolve(directory);
  while (!existsSync(nearest) && dirname(nearest) !== nearest) nearest = dirname(nearest);
  return nearest;
}
