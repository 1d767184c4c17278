/** A relay to a server that stops in the middle of a request until client or server ends. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class HeldRelay {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #most = Infinity;
  #held = Promise.withResolvers<undefined>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(port: number): Promise<HeldRelay> {
    const relay: HeldRelay = new HeldRelay(
      createServer((near) => {
        relay.#join(near, connect(port, '127.0.0.1'));
      }),
    );
    await new Promise<void>((resolve) => relay.#server.listen(0, '127.0.0.1', resolve));
    return relay;
  }

  get origin(): string {
    return `http://127.0.0.1:${String((this.#server.address() as AddressInfo).port)}`;
  }

  /** Limits connections to `bytes` bytes to the server. Resolves when one has sent them. */
  holdAfter(bytes: number): Promise<undefined> {
    this.#most = bytes;
    this.#held = Promise.withResolvers();
    return this.#held.promise;
  }

  /** Removes the limit for new connections. */
  release(): void {
    this.#most = Infinity;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(near: Socket, far: Socket): void {
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
    far.pipe(near);
    let carried = 0;
    near.on('data', (chunk: Buffer) => {
      carried += chunk.byteLength;
      if (carried > this.#most) {
        this.#held.resolve(undefined);
        return;
      }
      if (far.write(chunk)) return;
      near.pause();
      far.once('drain', () => near.resume());
    });
  }
}
