/** Damages the files of a cache as a failing disk or a user would. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { digestHex } from '../../../src/domain/descriptor.ts';
import type { TestImage } from '../../../test/support/image.ts';
import type { FaultedService } from '../faulted-service.ts';

/** The file is missing or replaced. */
export const LOSSES = {
  deleted: (path: string) => {
    rmSync(path);
  },
  'replaced by a link': (path: string) => {
    rmSync(path);
    symlinkSync('/etc/hostname', path);
  },
  'replaced by a directory': (path: string) => {
    rmSync(path);
    mkdirSync(path);
  },
  'replaced by a pipe': (path: string) => {
    // One pipe serves all: starting mkfifo takes much longer than linking an existing pipe.
    const pipe = join(dirname(path), '../pipe');
    if (!existsSync(pipe)) execFileSync('mkfifo', [pipe]);
    rmSync(path);
    linkSync(pipe, path);
  },
  'made unreadable': (path: string) => {
    chmodSync(path, 0);
  },
} as const;

/** The length changes. */
export const LENGTHS = {
  truncated: (path: string) => {
    truncateSync(path, statSync(path).size >> 1);
  },
  extended: (path: string) => {
    truncateSync(path, statSync(path).size + 5000);
  },
} as const;

/** The length stays, the bytes change. */
export const CONTENTS = {
  'one bit flipped': (path: string) => {
    overwrite(path, statSync(path).size >> 1, (byte) => byte ^ 1);
  },
  'filled with NUL': (path: string) => {
    const { size } = statSync(path);
    truncateSync(path, 0);
    truncateSync(path, size);
  },
} as const;

/** The path of the package in the cache of this service. */
export function pathOf(service: FaultedService, image: TestImage): string {
  const directory = service.setup.cacheDirectory ?? '';
  return join(directory, 'v1/blobs/sha256', digestHex(image.layer.descriptor.digest));
}

function overwrite(path: string, offset: number, change: (byte: number) => number): void {
  const fd = openSync(path, 'r+');
  try {
    const byte = Buffer.alloc(1);
    readSync(fd, byte, 0, 1, offset);
    byte[0] = change(byte[0] ?? 0);
    writeSync(fd, byte, 0, 1, offset);
  } finally {
    closeSync(fd);
  }
}
