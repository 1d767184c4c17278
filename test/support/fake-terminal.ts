/** A terminal for commands that run in the process of the test, with its output as text. */
import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import type { Input, Output, Terminal } from '../../src/adapters/cli/command.ts';

export class FakeTerminal implements Terminal {
  readonly stdout: FakeOutput;
  readonly stderr = new FakeOutput();
  readonly stdin = new FakeInput();
  readonly environment: Record<string, string | undefined> = {};
  readonly version = '1.2.3';
  readonly defaultSettings = join(import.meta.dirname, '../../config/default.yaml');
  readonly #interruption = new AbortController();

  constructor(stdout = new FakeOutput()) {
    this.stdout = stdout;
  }

  get interrupted(): AbortSignal {
    return this.#interruption.signal;
  }

  interrupt(): void {
    this.#interruption.abort();
  }
}

/** As a pipe, or as a terminal when it has columns. */
export class FakeOutput implements Output {
  columns: number | undefined;
  rows: number | undefined;
  text = '';

  constructor(columns?: number) {
    this.columns = columns;
  }

  get isTTY(): boolean {
    return this.columns !== undefined;
  }

  write(text: string): void {
    this.text += text;
  }
}

/** A keyboard. */
export class FakeInput extends EventEmitter implements Input {
  readonly isTTY = true;
  isRaw = false;

  setRawMode(isRaw: boolean): void {
    this.isRaw = isRaw;
  }

  pause(): this {
    return this;
  }
}
