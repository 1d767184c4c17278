import { expect } from 'chai';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { CA, serverCertificate } from '../../../../support/tls/certificates.ts';

const SIZE = 300_000;
const HEAD = `HTTP/1.1 200 OK\r\nContent-Length: ${String(SIZE)}\r\n\r\n`;

/** The steps by which Node hands an answer to the parser, as ADR 13 relies on them. */
const ORDER = [
  'the request emits "socket"',
  'the socket reads the headers and the first bytes of the body',
  'the request emits "response"',
  'push returns',
  'the response gives the first bytes of the body',
  'the read of the headers is over',
  'a microtask of "response" runs',
  'the socket reads the rest of the body',
];
const CHANGED = 'Node has changed the order of its events; check each step of src/adapters/registry/bulk (ADR 13)';

/** Answers a request by the headers and five bytes, and by the rest when the client has seen them. */
class SlowServer {
  readonly #server;
  readonly #sockets: Socket[] = [];

  constructor(isTls: boolean) {
    const answer = (socket: Socket): void => {
      this.#sockets.push(socket);
      socket.on('error', () => undefined).once('data', () => socket.write(`${HEAD}first`));
    };
    this.#server = isTls ? createTlsServer(serverCertificate('localhost'), answer) : createServer(answer);
  }

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  sendRest(): void {
    this.#sockets[0]?.write(Buffer.alloc(SIZE - 'first'.length));
  }

  close(): Promise<unknown> {
    for (const socket of this.#sockets) socket.destroy();
    return new Promise((resolve) => this.#server.close(resolve));
  }
}

describe('the bypass of the HTTP parser', () => {
  for (const [what, isTls] of [
    ['plain sockets', false],
    ['TLS sockets', true],
  ] as const) {
    it(`relies on the order in which Node reads, parses and emits (${what})`, async () => {
      const server = new SlowServer(isTls);
      const port = await server.listen();
      const steps: string[] = [];
      const read = Promise.withResolvers<undefined>();
      let response: IncomingMessage | undefined;
      let left = SIZE;
      const buffers = [Buffer.alloc(64 * 1024), Buffer.alloc(SIZE)];
      const onread = {
        // Asked for after each read, so the rest lands in the second buffer.
        buffer: (): Buffer => buffers[response === undefined ? 0 : 1] ?? Buffer.alloc(0),
        callback: (bytes: number, buffer: Uint8Array): boolean => {
          if (response !== undefined) {
            if (left === SIZE - 'first'.length) steps.push('the socket reads the rest of the body');
            expect(buffer === buffers[1]).to.equal(true);
            left -= bytes;
            if (left === 0) read.resolve(undefined);
            return true;
          }
          steps.push('the socket reads the headers and the first bytes of the body');
          push(Buffer.from(buffer.subarray(0, bytes)));
          steps.push('push returns');
          const first = (response as IncomingMessage | undefined)?.read() as Buffer | null | undefined;
          steps.push('the response gives the first bytes of the body');
          left -= first?.byteLength ?? 0;
          steps.push('the read of the headers is over');
          return true;
        },
      };
      const options = { host: '127.0.0.1', port, onread };
      // Node's types do not know `onread` of a TLS socket.
      const socket = isTls ? connectTls({ ...options, ca: CA, servername: 'localhost' } as object) : connect(options);
      const push = socket.push.bind(socket);
      try {
        await once(socket, isTls ? 'secureConnect' : 'connect');
        const sent = request({ createConnection: () => socket });
        sent.on('error', () => undefined);
        sent.once('socket', () => {
          steps.push('the request emits "socket"');
          sent.prependOnceListener('response', (answer) => {
            steps.push('the request emits "response"');
            response = answer.on('error', () => undefined);
            queueMicrotask(() => {
              steps.push('a microtask of "response" runs');
              server.sendRest();
            });
          });
        });
        sent.end();
        await read.promise;
        expect(steps, CHANGED).to.deep.equal(ORDER);
      } finally {
        socket.destroy();
        await server.close();
      }
    });
  }

  it("relies on the index of the parser's callback for bodies", async () => {
    const server = new SlowServer(false);
    const port = await server.listen();
    const sent = request({ host: '127.0.0.1', port }).end();
    try {
      const [{ socket }] = (await once(sent, 'response')) as [IncomingMessage];
      const { parser } = socket as Socket & { parser: Record<number, { name: string }> };
      expect(parser[3]?.name, CHANGED).to.equal('parserOnBody');
    } finally {
      sent.on('error', () => undefined).destroy();
      await server.close();
    }
  });

  it('relies on TLS in a tunnel, which pushes each read, and null at its end', async () => {
    const server = new SlowServer(true);
    const port = await server.listen();
    const outer = connect({ host: '127.0.0.1', port });
    const socket = connectTls({ socket: outer, ca: CA, servername: 'localhost' });
    socket.on('error', () => undefined);
    const pushed: (number | null)[] = [];
    const ended = Promise.withResolvers<undefined>();
    const push = socket.push.bind(socket);
    socket.push = (chunk: Uint8Array | null) => {
      pushed.push(chunk === null ? null : chunk.byteLength);
      if (chunk === null) ended.resolve(undefined);
      return push(chunk);
    };
    try {
      socket.resume().write('GET / HTTP/1.1\r\n\r\n');
      await once(socket, 'data');
      await server.close();
      await ended.promise;
      expect(pushed, CHANGED).to.deep.equal([HEAD.length + 'first'.length, null]);
    } finally {
      socket.destroy();
      outer.destroy();
      await server.close();
    }
  });
});
