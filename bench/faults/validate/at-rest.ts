/** Checks the invariants of an idle service after a fault. */
import { lstatSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { digestOf } from '../../../src/domain/descriptor.ts';
import { allocated } from '../../../src/adapters/filesystem/ledger.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { findCanary } from '../../../test/support/service-process.ts';
import type { FaultedService } from '../faulted-service.ts';
import { addUp, type Counted } from './accounts.ts';
import { type Descriptors, residentBytes } from './process-facts.ts';

/** Descriptors of the threads that start with the first large download and stay. */
const LATE_DESCRIPTORS = 24;
/** Memory that the service keeps: pools of blocks, and the growth of V8's heap before a collection. */
const MAX_GROWTH_BYTES = 256 * 1024 * 1024;

/** The parts of a running service that are inspected. */
export interface Inspected extends Counted, Pick<FaultedService, 'idle' | 'pid'> {
  readonly setup: { readonly cacheDirectory: string | undefined };
  readonly running: { readonly output: string };
  descriptors(): Descriptors;
}

/**
 * Returns a sentence for each violation. Each check is repeated until it passes, for at most `patienceMs`, because idle
 * connections to a registry stay open for some seconds.
 */
export async function violationsAtRest(service: Inspected, patienceMs = 20_000): Promise<string[]> {
  const failures = [
    await failureOf(() => expectNothingOpen(service), patienceMs),
    await failureOf(() => expectIndexIsDirectory(service), patienceMs),
    await failureOf(() => addUp(service), patienceMs),
    expectNoGrowth(service),
    ...(await wrongFiles(service)),
    canaryOf('log', service.running.output),
    canaryOf('metrics', (await service.metrics()).text),
  ];
  return failures.filter((failure) => failure !== undefined);
}

/** Stops the service by SIGTERM and checks its exit code and its measurements. */
export async function violationsOfStop(service: FaultedService): Promise<string[]> {
  const code = await service.stop();
  const { count, exceeded, peakBytes } = service.budget;
  const { maxBytes } = service.setup;
  return [
    ...(code === 0 ? [] : [`exit code ${String(code)}`]),
    ...(exceeded === 0
      ? []
      : [
          `${String(exceeded)} of ${String(count)} samples: ${String(peakBytes)} bytes in a cache of ${String(maxBytes)}`,
        ]),
  ];
}

/** These checks do not need a running service. */
export async function strangeDials(service: FaultedService, allowed: ReadonlySet<string>): Promise<string[]> {
  return [...(await service.dials())].filter((dial) => !allowed.has(dial)).map((dial) => `dialled ${dial}`);
}

async function failureOf(check: () => Promise<void>, patienceMs: number): Promise<string | undefined> {
  try {
    await eventually(check, patienceMs);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function expectNothingOpen(service: Inspected): Promise<void> {
  const arriving = (await service.metrics()).sum('downloads_in_flight');
  if (arriving !== 0) throw new Error(`${String(arriving)} downloads still run`);
  const { idle } = service;
  const now = service.descriptors();
  if (now.sockets > idle.descriptors.sockets) {
    throw new Error(`${String(now.sockets)} sockets, ${String(idle.descriptors.sockets)} when idle`);
  }
  if (now.removed > 0) throw new Error(`${String(now.removed)} removed files are still open`);
  if (now.others > idle.descriptors.others + LATE_DESCRIPTORS) {
    throw new Error(`${String(now.others)} other descriptors, ${String(idle.descriptors.others)} when idle`);
  }
}

async function expectIndexIsDirectory(service: Inspected): Promise<void> {
  const directory = service.setup.cacheDirectory;
  if (directory === undefined) return;
  const temporary = namesIn(join(directory, 'v1/ingest'));
  if (temporary.length > 0) throw new Error(`${String(temporary.length)} temporary files are left`);
  const sizes = blobPaths(directory).map((path) => allocated(lstatSync(path).size));
  const bytes = sizes.reduce((total, size) => total + size, 0);
  const metrics = await service.metrics();
  const indexed = { entries: metrics.sum('cache_entries'), bytes: metrics.sum('cache_size_bytes') };
  if (indexed.entries !== sizes.length || indexed.bytes !== bytes) {
    throw new Error(
      `the index has ${String(indexed.entries)} entries of ${String(indexed.bytes)} bytes, ` +
        `the directory ${String(sizes.length)} of ${String(bytes)}`,
    );
  }
}

/** The digest of each cached file must be its name. */
async function wrongFiles(service: Inspected): Promise<string[]> {
  const directory = service.setup.cacheDirectory;
  if (directory === undefined) return [];
  const wrong: string[] = [];
  for (const path of blobPaths(directory)) {
    const bytes = await readFile(path);
    if (!path.endsWith(digestOf(bytes).slice('sha256:'.length)))
      wrong.push('the digest of a cached file is not its name');
    if (bytes.includes('canary')) wrong.push('a secret in a file of the cache');
  }
  return wrong;
}

function expectNoGrowth(service: Inspected): string | undefined {
  const growth = residentBytes(service.pid) - service.idle.residentBytes;
  return growth > MAX_GROWTH_BYTES ? `${String(growth)} bytes of memory more than when idle` : undefined;
}

function canaryOf(where: string, text: string): string | undefined {
  const found = findCanary(text);
  return found === undefined ? undefined : `a secret in the ${where}: ${found}`;
}

/** Without foreign files, because the index does not contain them. */
function blobPaths(directory: string): string[] {
  const folder = join(directory, 'v1/blobs/sha256');
  return namesIn(folder)
    .filter((name) => /^[0-9a-f]{64}$/.test(name))
    .map((name) => join(folder, name))
    .filter((path) => lstatSync(path, { throwIfNoEntry: false })?.isFile() === true);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
