/** A screen on a terminal that is redrawn in place, with a reader of keys. */
import type { Input, Output } from './command.ts';

/** The alternate screen preserves the text that the terminal had before (xterm, ctlseqs). */
const ENTER = '\x1b[?1049h\x1b[?25l';
const LEAVE = '\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const REST_OF_LINE = '\x1b[K';
const REST_OF_SCREEN = '\x1b[J';
/** With raw input Ctrl-C is a key instead of a signal. */
const INTERRUPT = '\x03';

export class LiveScreen {
  readonly #stdout: Output;
  readonly #stdin: Input | undefined;
  readonly #onKey: (keys: Buffer | string) => void;
  readonly #onResize: () => void;

  /** Reads `stdin` only if it is a terminal. */
  constructor(
    { stdout, stdin }: { readonly stdout: Output; readonly stdin: Input },
    on: { readonly quit: () => void; readonly interrupt: () => void; readonly resize: () => void },
  ) {
    this.#stdout = stdout;
    this.#stdin = stdin.isTTY === true ? stdin : undefined;
    this.#onKey = (keys) => {
      for (const key of keys.toString()) {
        if (key === INTERRUPT) on.interrupt();
        else if (key === 'q' || key === 'Q') on.quit();
      }
    };
    this.#onResize = on.resize;
    stdout.write(ENTER);
    this.#stdin?.setRawMode?.(true);
    this.#stdin?.on('data', this.#onKey);
    stdout.on?.('resize', this.#onResize);
  }

  get size(): { readonly columns: number; readonly rows: number } {
    return { columns: this.#stdout.columns ?? 80, rows: this.#stdout.rows ?? 24 };
  }

  /** Draws with one write, and without an empty screen between two frames. */
  draw(lines: readonly string[]): void {
    this.#stdout.write(`${HOME}${lines.map((line) => `${line}${REST_OF_LINE}`).join('\r\n')}${REST_OF_SCREEN}`);
  }

  /** Restores the state of the terminal. */
  close(): void {
    this.#stdout.off?.('resize', this.#onResize);
    this.#stdin?.off('data', this.#onKey);
    this.#stdin?.setRawMode?.(false);
    this.#stdin?.pause();
    this.#stdout.write(LEAVE);
  }
}
