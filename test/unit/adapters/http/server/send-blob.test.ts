import { expect } from 'chai';
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { sendBlob } from '../../../../../src/adapters/http/server/send-blob.ts';
import { ClientGoneError } from '../../../../../src/adapters/http/server/problem.ts';
import type { BlobReader } from '../../../../../src/domain/ports/package-store.ts';
import { rejection } from '../../../../support/rejection.ts';

/** More than the buffers of two sockets hold. */
const SIZE = 64 * 1024 * 1024;

describe('sendBlob', () => {
  let server: Server;
  let client: Socket;
  let response: ServerResponse;
  beforeEach(async () => {
    server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const asked = once(server, 'request');
    client = connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => undefined);
    client.pause();
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    [, response] = (await asked) as [unknown, ServerResponse];
  });
  afterEach(async () => {
    client.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  const blobOf = (chunkBytes: number): BlobReader => ({
    size: SIZE,
    read: async (offset) => new Uint8Array(Math.min(chunkBytes, SIZE - offset)),
    close: async () => undefined,
  });

  function send(
    blob: BlobReader,
    slowest: { idleMs: number; bytesPerMs: number },
    counted = { sent: 0 },
  ): Promise<void> {
    return sendBlob(response, blob, {
      start: 0,
      end: blob.size,
      writeHead: () => response.writeHead(200, { 'Content-Length': String(blob.size) }),
      onSent: (bytes) => (counted.sent += bytes),
      slowest,
    });
  }

  it('closes the connection of a client that reads nothing', async () => {
    const counted = { sent: 0 };
    expect(await rejection(send(blobOf(512 * 1024), { idleMs: 100, bytesPerMs: 1 }, counted))).to.be.instanceOf(
      ClientGoneError,
    );
    expect(counted.sent).to.be.lessThan(SIZE);
  });

  it('closes the connection of a client that reads too slowly', async () => {
    // 3 MB/s where 1 GB/s is asked for: never idle for so long, and far from the end of its 32 MiB.
    const sending = send(blobOf(32 * 1024 * 1024), { idleMs: 1000, bytesPerMs: 1_000_000 });
    const trickle = setInterval(() => {
      client.read(64 * 1024);
    }, 20);
    expect(await rejection(sending)).to.be.instanceOf(ClientGoneError);
    expect(client.bytesRead).to.be.greaterThan(64 * 1024);
    clearInterval(trickle);
  });

  it('does not close the connection while the blob itself is slow', async () => {
    const held = Promise.withResolvers<undefined>();
    const bytes = new Uint8Array(SIZE);
    const blob: BlobReader = {
      size: SIZE,
      read: async (offset) => {
        if (offset > 0) await held.promise;
        return bytes.subarray(offset, offset + 1024 * 1024);
      },
      close: async () => undefined,
    };
    client.resume();
    const sending = send(blob, { idleMs: 1500, bytesPerMs: 1 });
    // Twice what a client may.
    await new Promise((resolve) => setTimeout(resolve, 3000));
    held.resolve(undefined);
    await sending;
    expect(response.writableEnded).to.equal(true);
  });
});
