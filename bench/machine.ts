/** Describes the machine so that a reader can judge the figures, without naming it. */
import { availableParallelism, totalmem } from 'node:os';
import { relative } from 'node:path';
import { type Programs, ROOT } from './peers/programs.ts';

const GIB = 1024 ** 3;

export function hardware(): string {
  return `${String(availableParallelism())} CPUs, ${(totalmem() / GIB).toFixed(0)} GiB of memory, ${process.platform}/${process.arch}; clients and peers share them, over loopback`;
}

export function machineFacts({ service, versions }: Programs): string[] {
  return [
    hardware(),
    `Node ${process.versions.node}; ours is \`${relative(ROOT, service)}\``,
    ...Object.entries(versions).map(([name, version]) => `${name} ${version}`),
  ];
}
