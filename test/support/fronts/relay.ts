/** A TCP relay on loopback that cuts one connection in the middle of an answer for a test. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';

export class Relay {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #bytesUntilCut = Infinity;
  #refusals = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(targetPort: () => number): Promise<Relay> {
    const relay: Relay = new Relay(
      createServer((near) => {
        if (relay.#refusals === 0) relay.#join(near, connect(targetPort(), '127.0.0.1'));
        else {
          relay.#refusals -= 1;
          near.destroy();
        }
      }),
    );
    await new Promise<void>((resolve) => relay.#server.listen(0, '127.0.0.1', resolve));
    return relay;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Ends the connection that brings the last of the next `bytes` bytes of the target, counted over all connections. */
  cutAfter(bytes: number): void {
    this.#bytesUntilCut = bytes;
  }

  /** Ends all connections, and the next `refusals` ones when they are made. */
  leave(refusals: number): void {
    this.#refusals = refusals;
    for (const socket of this.#sockets) socket.destroy();
  }

  get isBack(): boolean {
    return this.#refusals === 0;
  }

  get hasCut(): boolean {
    return this.#bytesUntilCut === Infinity;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(near: Socket, far: Socket): void {
    near.on('close', () => far.destroy());
    far.on('close', () => near.end());
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      // Node emits close after each error.
      socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
    }
    near.pipe(far);
    far.on('data', (chunk: Buffer) => {
      this.#bytesUntilCut -= chunk.byteLength;
      if (this.#bytesUntilCut <= 0) {
        this.#bytesUntilCut = Infinity;
        far.destroy();
      } else if (!near.write(chunk)) {
        far.pause();
        near.once('drain', () => far.resume());
      }
    });
  }
}
