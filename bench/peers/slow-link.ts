/** A link to a registry with a limit in bytes per second for all connections together, and with a delay. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';

export class SlowLink {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** The time at which the link is free again, in milliseconds. */
  #free = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** `bytesPerSecond` from the target to its clients; requests are not slowed down. Answers come `delayMs` later. */
  static async start(targetPort: number, bytesPerSecond: number, delayMs = 0): Promise<SlowLink> {
    const link: SlowLink = new SlowLink(
      createServer((near) => {
        link.#join(near, connect(targetPort, '127.0.0.1'), bytesPerSecond / 1000, delayMs);
      }),
    );
    await new Promise<void>((resolve) => link.#server.listen(0, '127.0.0.1', resolve));
    return link;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  #join(near: Socket, far: Socket, bytesPerMs: number, delayMs: number): void {
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket);
      socket
        .on('error', () => undefined)
        .on('close', () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
    }
    near.pipe(far);
    const onTheWay: Buffer[] = [];
    const arrive = (): void => {
      const chunk = onTheWay.shift();
      if (chunk !== undefined && !near.destroyed) near.write(chunk);
    };
    far.on('data', (chunk: Buffer) => {
      const now = performance.now();
      this.#free = Math.max(this.#free, now) + chunk.byteLength / bytesPerMs;
      const waitMs = this.#free - now;
      onTheWay.push(chunk);
      far.pause();
      setTimeout(() => {
        far.resume();
      }, waitMs);
      // Timers of different lengths can fire in another order, so each timer sends the oldest chunk.
      setTimeout(arrive, waitMs + delayMs);
    });
  }
}
