/** A link to the registry with a limit in bytes per second for all connections together. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { BenchImage } from '../bench-image.ts';
import { blobUrl, type Origin } from './origin.ts';
import type { Peer, Upstream } from './peer.ts';
import { REPOSITORY } from './registry-storage.ts';

/** The resolution of timers. */
const TICK_MS = 1;
/** 42 ms of 100 Mbit/s: the buffer of a switch, and more than a timer is late. */
const MAX_QUEUED_BYTES = 512 * 1024;

export class HeldLink implements Upstream {
  readonly base: string;
  readonly repo: string;
  readonly #origin: Origin;
  readonly #server: Server;

  private constructor(origin: Origin, server: Server) {
    const host = `127.0.0.1:${String((server.address() as AddressInfo).port)}`;
    this.base = `http://${host}`;
    this.repo = `${host}/${REPOSITORY}`;
    this.#origin = origin;
    this.#server = server;
  }

  static async start(origin: Origin, bytesPerSecond: number): Promise<HeldLink> {
    /** The time on the monotonic clock at which the link has sent all bytes. */
    let freeAt = 0;
    const server = createServer((client) => {
      const upstream = connect(Number(new URL(origin.base).port), '127.0.0.1');
      const queue = new Queue(upstream, client);
      for (const one of [client, upstream]) {
        one.setNoDelay(true);
        // Its close follows.
        one.on('error', () => undefined);
      }
      client.on('close', () => upstream.destroy());
      upstream.on('close', () => {
        queue.close();
      });
      client.pipe(upstream);
      upstream.on('data', (chunk) => {
        freeAt = Math.max(performance.now(), freeAt) + (1000 * chunk.byteLength) / bytesPerSecond;
        queue.add(chunk, freeAt);
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new HeldLink(origin, server);
  }

  get peer(): Peer {
    const { process } = this.#origin;
    return { name: 'origin', process, url: (image: BenchImage) => blobUrl(this.base, image) };
  }

  close(): void {
    this.#server.close();
  }
}

/**
 * The bytes of one connection that the link still has to carry. Each has its time when it enters the queue: a timer that is
 * late on a busy machine delays its own bytes, and the link loses no time by it, as a real one does not.
 */
class Queue {
  readonly #from: Socket;
  readonly #to: Socket;
  #bytes = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(from: Socket, to: Socket) {
    this.#from = from;
    this.#to = to;
  }

  add(chunk: Buffer, carriedAt: number): void {
    this.#bytes += chunk.byteLength;
    if (this.#bytes >= MAX_QUEUED_BYTES) this.#from.pause();
    this.#last = this.#last.then(() => this.#carry(chunk, carriedAt));
  }

  /** Ends the connection behind the last bytes. */
  close(): void {
    void this.#last.then(() => this.#to.destroy());
  }

  async #carry(chunk: Buffer, carriedAt: number): Promise<void> {
    const delayMs = carriedAt - performance.now();
    if (delayMs >= TICK_MS) await new Promise((resolve) => setTimeout(resolve, delayMs));
    if (!this.#to.destroyed && !this.#to.write(chunk)) await once(this.#to, 'drain').catch(() => undefined);
    this.#bytes -= chunk.byteLength;
    if (this.#bytes < MAX_QUEUED_BYTES) this.#from.resume();
  }
}
