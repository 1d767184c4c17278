/** Commands for events of the disk and the process. */
import { expect } from 'chai';
import { type Command, command, nextTurn, pick } from './model-command.ts';
import type { Damage, ModelFile, StoreModel } from './store-model.ts';

/** Damages a cached file. */
export function harm(index: number, damage: Damage): Command {
  return command(
    `${damage} ${String(index)}`,
    (model, real) => {
      const file = pick(unharmed(model), index);
      real.harm(file, damage);
      file.damage = damage;
    },
    (model) => unharmed(model).length > 0,
  );
}

/** Stops the store cleanly and starts it again, with another budget and an optional scrub. */
export function restart(maxBytes: number, scrubs: boolean): Command {
  return command(`restart with ${String(maxBytes)}${scrubs ? ' and a scrub' : ''}`, async (model, real) => {
    const order = [...model.kept.values()];
    await real.restart(maxBytes, scrubs ? 1e12 : 0);
    model.start(maxBytes, order, false);
    if (!scrubs) return;
    const bytes = model.kept.values().reduce((sum, { size }) => sum + size, 0);
    model.scrub();
    await real.scrubbed(bytes, model.damaged);
  });
}

/** Changes the free space of the volume, so that it has `bytes` bytes for the store by the count of the store. */
export function limitVolume(bytes: number | undefined): Command {
  return command(`a volume of ${String(bytes)}`, (model, real) => {
    model.capacity = real.capacity = bytes;
  });
}

/** Kills the process; with a running download, `turns` turns of the event loop after its last bytes have arrived. */
export function crash(turns: number, index: number, order: number): Command {
  return command(`crash after ${String(turns)}, ${String(index)}, ${String(order)}`, async (model, real) => {
    const dying = real.fills.length === 0 ? undefined : pick(real.fills, index);
    const before = dying && real.inodeOf(dying.file);
    const kept = [...model.kept.values()];
    const isRight = dying?.finish((end, length) => model.grow(dying.file, end, length));
    for (let turn = 0; turn < turns; turn++) await nextTurn();
    const snapshot = real.snapshot();
    const after = dying && real.inodeOf(dying.file);
    if (dying !== undefined && after !== undefined && after !== before) {
      expect(isRight, 'a file has its name without a proof').to.equal(true);
      model.keep(dying.file);
    }
    // The crash spares entries that the store had not yet evicted for the running download.
    const spared = kept.filter((file) => !model.kept.has(file.blob.descriptor.digest) && snapshot.has(file));
    // A crash loses access times that are not yet written to the files, so any order is valid after the restart.
    const files = shuffled([...spared, ...model.kept.values()], order);
    snapshot.setOrder(files);
    await real.crash(snapshot, model.maxBytes);
    model.start(model.maxBytes, files, true);
  });
}

function shuffled(files: ModelFile[], seed: number): ModelFile[] {
  const left = [...files];
  return files.map((_file, index) => left.splice((seed >> index) % left.length, 1)).flat();
}

function unharmed({ kept }: StoreModel): ModelFile[] {
  return [...kept.values()].filter(({ damage, size }) => damage === undefined && size > 0);
}
