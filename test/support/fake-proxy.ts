/** A forward proxy on a loopback socket (CONNECT or SOCKS 5) that leads each host to one port, with the answers of a test. */
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export interface SocksOptions {
  /** The required account (RFC 1929); none when absent. */
  readonly username?: string;
  readonly password?: string;
  /** Instead of 0, success (RFC 1928, section 6). */
  readonly reply?: number;
}

export class FakeProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** `host:port` of each request, oldest first. */
  readonly targets: string[] = [];
  /** The Proxy-Authorization header of each CONNECT. */
  readonly authorizations: (string | undefined)[] = [];
  /** The answers to the first CONNECT requests, before they succeed. */
  refusals: number[] = [];

  private constructor(makeServer: (proxy: FakeProxy) => Server) {
    this.#server = makeServer(this);
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
    });
  }

  /** `port` is that of the one host behind it. */
  static async http(port: number): Promise<FakeProxy> {
    const proxy = new FakeProxy((self) =>
      createHttpServer().on('connect', ({ url = '', headers }, socket: Socket) => {
        self.targets.push(url);
        self.authorizations.push(headers['proxy-authorization']);
        const refusal = self.refusals.shift();
        if (refusal === undefined) self.#lead(socket, port, 'HTTP/1.1 200 OK\r\n\r\n');
        else socket.end(`HTTP/1.1 ${String(refusal)} canary-reason\r\nContent-Length: 0\r\n\r\n`);
      }),
    );
    return proxy.#listening();
  }

  static async socks(port: number, options: SocksOptions = {}): Promise<FakeProxy> {
    const proxy = new FakeProxy((self) => createServer((socket) => void self.#speakSocks(socket, port, options)));
    return proxy.#listening();
  }

  async #listening(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get host(): string {
    return `127.0.0.1:${String((this.#server.address() as AddressInfo).port)}`;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #speakSocks(socket: Socket, port: number, { username, password, reply = 0 }: SocksOptions): Promise<void> {
    const [, methods = 0] = await read(socket, 2);
    await read(socket, methods);
    socket.write(Buffer.from([5, username === undefined ? 0 : 2]));
    if (username !== undefined) {
      const [, length = 0] = await read(socket, 2);
      const name = (await read(socket, length)).toString();
      const [passwordLength = 0] = await read(socket, 1);
      const isRight = (await read(socket, passwordLength)).toString() === password && name === username;
      socket.write(Buffer.from([1, isRight ? 0 : 1]));
    }
    const [, , , kind = 0] = await read(socket, 4);
    const [length = 0] = kind === 3 ? await read(socket, 1) : [kind === 1 ? 4 : 16];
    const address = await read(socket, length);
    const host = kind === 3 ? address.toString() : [...address].join('.');
    this.targets.push(`${host}:${String((await read(socket, 2)).readUInt16BE())}`);
    const answer = Buffer.from([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]);
    if (reply === 0) this.#lead(socket, port, answer);
    else socket.end(answer);
  }

  #lead(socket: Socket, port: number, answer: string | Buffer): void {
    const onward = connect(port, '127.0.0.1', () => {
      socket.write(answer);
      onward.pipe(socket).pipe(onward);
    });
    this.#sockets.add(onward);
    onward.on('error', () => socket.destroy());
    onward.on('close', () => socket.destroy());
    socket.on('close', () => onward.destroy());
  }
}

async function read(socket: Socket, bytes: number): Promise<Buffer> {
  for (;;) {
    const chunk = socket.read(bytes) as Buffer | null;
    if (chunk !== null || bytes === 0) return chunk ?? Buffer.alloc(0);
    await new Promise((resolve) => socket.once('readable', resolve));
  }
}
