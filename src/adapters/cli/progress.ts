/** Shows the progress of a command: a bar on a terminal, a line at intervals elsewhere. The output has no colours. */
import type { MirrorProgress } from '../../application/mirror-packages.ts';
import type { Output, Terminal } from './command.ts';
import { formatBytes, formatSeconds } from './format.ts';

/** The time between two frames of a bar; people do not see faster changes. */
const REDRAW_MS = 100;
/** The shortest time between two lines. */
const LINE_MS = 5_000;
/** The smallest progress between two lines, as a share of the total. */
const LINE_PART = 0.1;
/** After this time a line is printed without such progress, too. */
const SILENCE_MS = 60_000;
const WIDEST_BAR = 40;
const NARROWEST_BAR = 8;
/** Moves to the first column and clears the line. */
const CLEAR = '\r\x1b[K';

interface ProgressOptions {
  /** The activity in one word, which begins each line. */
  readonly title: string;
  /** The unit: bytes, or the plural of a noun. */
  readonly unit: string;
  /** The milliseconds of a monotonic clock; for tests. */
  readonly now?: () => number;
}

export class Progress {
  readonly #stream: Output;
  readonly #options: ProgressOptions;
  readonly #isBar: boolean;
  readonly #now: () => number;
  readonly #started: number;
  /** 0 while the total is unknown; it may grow later. */
  total = 0;
  #done = 0;
  #label = '';
  #drawn = { at: -Infinity, done: 0, isThere: false };

  constructor({ stderr, environment }: Pick<Terminal, 'stderr' | 'environment'>, options: ProgressOptions) {
    this.#stream = stderr;
    this.#options = options;
    this.#isBar = stderr.isTTY === true && environment['TERM'] !== 'dumb';
    this.#now = options.now ?? (() => performance.now());
    this.#started = this.#now();
    // There is no first line, because short work needs only the last one.
    if (!this.#isBar) this.#drawn.at = this.#started;
  }

  /** Adds `amount`; `label` names the item, if there is room for it. */
  advance(amount: number, label = this.#label): void {
    this.#done += amount;
    this.#label = label;
    const silence = this.#now() - this.#drawn.at;
    if (this.#isBar) {
      if (silence >= REDRAW_MS) this.#draw();
    } else if (silence >= LINE_MS) {
      const hasCome = this.total > 0 && (this.#done - this.#drawn.done) / this.total >= LINE_PART;
      if (hasCome || silence >= SILENCE_MS) this.#line();
    }
  }

  /** Removes the bar before other output; the next `advance` draws it again. */
  clear(): void {
    if (this.#drawn.isThere) this.#stream.write(CLEAR);
    this.#drawn = { ...this.#drawn, at: this.#isBar ? -Infinity : this.#drawn.at, isThere: false };
  }

  /** Removes the bar; without a bar it prints a last line with the final amount. */
  end(): void {
    this.clear();
    if (!this.#isBar) this.#line();
  }

  #draw(): void {
    this.#drawn = { at: this.#now(), done: this.#done, isThere: true };
    // The last column stays free, because some terminals would begin a new line.
    const room = (this.#stream.columns ?? 80) - 1;
    this.#stream.write(`${CLEAR}${this.#bar(room)}`);
  }

  /** Fields that do not fit are omitted, the least important first. */
  #bar(room: number): string {
    const part = this.#part();
    const title = this.#options.title;
    const percent = part === undefined ? '' : `${String(Math.floor(part * 100)).padStart(3)} %`;
    let line = [title, percent].filter(Boolean).join(' ');
    for (const more of [this.#amount(), this.#rate(), this.#left(), this.#label]) {
      if (more !== '' && line.length + 2 + more.length <= room) line += `  ${more}`;
    }
    const barRoom = Math.min(WIDEST_BAR, room - line.length - 3);
    if (part !== undefined && barRoom >= NARROWEST_BAR) {
      const full = Math.floor(part * barRoom);
      line = `${title} [${'#'.repeat(full)}${'.'.repeat(barRoom - full)}]${line.slice(title.length)}`;
    }
    return line.slice(0, Math.max(0, room));
  }

  #line(): void {
    this.#drawn = { at: this.#now(), done: this.#done, isThere: false };
    const details = [this.#amount(), formatSeconds(this.#seconds()), this.#rate()].filter(Boolean).join(', ');
    this.#stream.write(`${this.#options.title}: ${details}\n`);
  }

  #part(): number | undefined {
    return this.total > 0 ? Math.min(1, this.#done / this.total) : undefined;
  }

  #seconds(): number {
    return (this.#now() - this.#started) / 1000;
  }

  #amount(): string {
    const { unit } = this.#options;
    const [done, total] = [this.#done, this.total].map((count) =>
      unit === 'bytes' ? formatBytes(count) : String(count),
    );
    return `${done ?? ''}${this.total > 0 ? ` of ${total ?? ''}` : ''}${unit === 'bytes' ? '' : ` ${unit}`}`;
  }

  #rate(): string {
    const seconds = this.#seconds();
    return this.#options.unit === 'bytes' && seconds >= 1 ? `${formatBytes(this.#done / seconds)}/s` : '';
  }

  #left(): string {
    const seconds = this.#seconds();
    if (this.total <= this.#done || this.#done === 0 || seconds < 1) return '';
    return `${formatSeconds((seconds * (this.total - this.#done)) / this.#done)} left`;
  }
}

/** Shows the number of mirrored manifests and, when their sizes are known, of bytes. */
export class MirrorDisplay {
  readonly #terminal: Terminal;
  readonly #packages: number;
  #last: MirrorProgress = {
    ...{ phase: 'manifests', resolved: 0, mirrored: 0, failed: 0 },
    ...{ totalBytes: 0, hereBytes: 0, fetchedBytes: 0 },
  };
  #progress: Progress;
  #shown = 0;

  constructor(terminal: Terminal, packages: number) {
    this.#terminal = terminal;
    this.#packages = packages;
    this.#progress = new Progress(terminal, { title: 'manifests', unit: 'packages' });
    this.#progress.total = packages;
  }

  /** The progress that was shown last. */
  get last(): MirrorProgress {
    return this.#last;
  }

  show(progress: MirrorProgress): void {
    const { phase, resolved, failed, mirrored, hereBytes, totalBytes } = progress;
    if (phase !== this.#last.phase) {
      this.#progress.end();
      this.#progress = new Progress(this.#terminal, { title: 'packages', unit: 'bytes' });
      this.#shown = 0;
    }
    this.#last = progress;
    const done = phase === 'manifests' ? resolved + failed : hereBytes;
    if (phase === 'blobs') this.#progress.total = totalBytes;
    this.#progress.advance(done - this.#shown, `${String(mirrored)} of ${String(this.#packages)}`);
    this.#shown = done;
  }

  end(): void {
    this.#progress.end();
  }
}
