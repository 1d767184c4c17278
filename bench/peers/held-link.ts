/** A link to the registry that carries no more than so many bytes per second, for all connections together. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { BenchImage } from '../bench-image.ts';
import { blobUrl, type Origin } from './origin.ts';
import type { Peer, Upstream } from './peer.ts';
import { REPOSITORY } from './registry-storage.ts';

/** A timer is no finer. */
const TICK_MS = 1;

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
    /** When the link has carried all that it was given, on the monotonic clock. */
    let freeAt = 0;
    const server = createServer((client) => {
      const upstream = connect(Number(new URL(origin.base).port), '127.0.0.1');
      for (const [one, other] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        one.setNoDelay(true);
        one.on('error', () => other.destroy());
        one.on('close', () => other.destroy());
      }
      client.pipe(upstream);
      upstream.on('data', (chunk) => {
        const now = performance.now();
        freeAt = Math.max(now, freeAt) + (1000 * chunk.byteLength) / bytesPerSecond;
        void forward(upstream, client, chunk, freeAt - now);
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

async function forward(from: Socket, to: Socket, chunk: Buffer, delayMs: number): Promise<void> {
  from.pause();
  if (delayMs >= TICK_MS) await new Promise((resolve) => setTimeout(resolve, delayMs));
  if (!to.destroyed && !to.write(chunk)) await once(to, 'drain').catch(() => undefined);
  from.resume();
}
