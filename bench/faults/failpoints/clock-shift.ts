/** Preloaded into the service: shifts its wall clock, and no other clock, by the offset in a file, at the start and at each SIGUSR2. */
import { readFileSync, writeFileSync } from 'node:fs';

const file = process.env['CLOCK_SHIFT_FILE'] ?? '';
const RealDate = Date;
let shiftMs = 0;

function read(): void {
  shiftMs = Number(readFileSync(file, 'utf8'));
  writeFileSync(`${file}.seen`, String(shiftMs));
}

const now = (): number => RealDate.now() + shiftMs;

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, newTarget) =>
    Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget) as Date,
  apply: () => new RealDate(now()).toString(),
  get: (target, name) => (name === 'now' ? now : (Reflect.get(target, name) as unknown)),
});

read();
process.on('SIGUSR2', read);
