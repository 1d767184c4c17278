import { expect } from 'chai';
import { once } from 'node:events';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { holdDirectory } from '../../../src/infrastructure/directory-lock.ts';
import { rejection } from '../../support/rejection.ts';

describe('holdDirectory', () => {
  let parent: string;
  beforeEach(async () => {
    parent = await mkdtemp(join(tmpdir(), 'directory-lock-'));
  });
  afterEach(() => rm(parent, { recursive: true, force: true }));

  it('keeps a second one away, also by another name, and lets in the next one', async () => {
    const held = await holdDirectory(parent, 'in use');
    const moved = `${parent}-moved`;
    await rename(parent, moved);
    expect(await rejection(holdDirectory(moved, 'in use'))).to.have.property('message', 'in use');
    await rename(moved, parent);
    await once(held.close(), 'close');
    await once((await holdDirectory(parent, 'in use')).close(), 'close');
  });

  it('says that there is no such directory', async () => {
    expect(await rejection(holdDirectory(join(parent, 'missing'), 'in use'))).to.have.property('code', 'ENOENT');
  });
});
