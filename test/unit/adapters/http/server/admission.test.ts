import { expect } from 'chai';
import got from 'got';
import { Agent } from 'node:http';
import { connect, type Socket } from 'node:net';
import sinon from 'sinon';
import { once } from 'node:events';
import { connect as connectTls } from 'node:tls';
import {
  Admission,
  ADMISSION_LIMITS,
  type AdmissionLimits,
  type Place,
} from '../../../../../src/adapters/http/server/admission.ts';
import type { Delivery, GetPackage } from '../../../../../src/application/get-package.ts';
import { sendInTurn } from '../../../../../src/adapters/http/server/send-blob.ts';
import { ClientGoneError, problemOf } from '../../../../../src/adapters/http/server/problem.ts';
import { StoreFailedError } from '../../../../../src/domain/errors.ts';
import { HttpServer } from '../../../../../src/adapters/http/server/http-server.ts';
import { MutualTls } from '../../../../../src/adapters/http/server/mutual-tls.ts';
import { eventually } from '../../../../support/eventually.ts';
import { startHttpApp } from '../../../../support/http-app.ts';
import { makePackage } from '../../../../support/image.ts';
import { CA, serverCertificate } from '../../../../support/tls/certificates.ts';
import { rejection } from '../../../../support/rejection.ts';

const MIB = 1024 * 1024;
const never = new AbortController().signal;
const ignored = (): void => undefined;

describe('Admission', () => {
  const admissionOf = (limits: Partial<AdmissionLimits>): Admission =>
    new Admission({ ...ADMISSION_LIMITS, maxHeldBytes: 14 * MIB, ...limits });
  const placeOf = (admission: Admission, bytes = 64 * MIB, displace = ignored): Promise<Place> =>
    admission.place(bytes, displace, never);

  it('admits as many large bodies as fit, and queues further ones in order', async () => {
    const admission = admissionOf({});
    const [first, second] = [await placeOf(admission), await placeOf(admission)];
    const order: number[] = [];
    const later = [1, 2, 3].map(async (number) => {
      const place = await placeOf(admission);
      order.push(number);
      return place;
    });
    expect(admission.usage).to.include({ sending: 2, waiting: 3 });
    first.release();
    (await later[0])?.release();
    second.release();
    for (const place of later) (await place).release();
    expect(order).to.deep.equal([1, 2, 3]);
    expect(admission.usage).to.include({ sending: 0, waiting: 0 });
  });

  it('admits more bodies if they are smaller, but none before an earlier one', async () => {
    const admission = admissionOf({});
    const places = await Promise.all(Array.from({ length: 14 }, () => placeOf(admission, MIB)));
    const large = placeOf(admission);
    const small = placeOf(admission, MIB);
    places.slice(0, 6).forEach((place) => {
      place.release();
    });
    expect(admission.usage).to.include({ waiting: 2 });
    places[6]?.release();
    (await large).release();
    (await small).release();
  });

  it('lets no small body overtake a large one that waits', async () => {
    const admission = admissionOf({});
    const place = await placeOf(admission);
    const other = await placeOf(admission, MIB);
    const large = placeOf(admission);
    expect(admission.freePlace(MIB, ignored)).to.equal(undefined);
    place.release();
    (await large).release();
    other.release();
  });

  it('admits a body alone that is larger than the whole limit', async () => {
    const admission = admissionOf({ maxHeldBytes: 1 });
    (await placeOf(admission)).release();
  });

  it('admits a body at once that fits into a socket buffer', async () => {
    const admission = admissionOf({ maxHeldBytes: 1 });
    await placeOf(admission);
    await Promise.all(Array.from({ length: 100 }, () => placeOf(admission, 64 * 1024)));
  });

  it('refuses a body that has waited too long, and removes it from the queue', async () => {
    const admission = admissionOf({ maxHeldBytes: 1, maxWaitMs: 10 });
    const place = await placeOf(admission);
    const error = await rejection(placeOf(admission));
    expect(error).to.include({ code: 'OVERLOADED' });
    const { headers } = problemOf(error);
    expect(Number(headers['Retry-After'])).to.be.within(5, 15);
    place.release();
    (await placeOf(admission)).release();
    expect(admission.usage).to.deep.equal({ running: 0, sending: 0, waiting: 0, refused: 1, displaced: 0 });
  });

  it('removes a client that leaves from the queue', async () => {
    const admission = admissionOf({ maxHeldBytes: 1 });
    const place = await placeOf(admission);
    const leaving = new AbortController();
    const waiting = admission.place(MIB, ignored, leaving.signal);
    leaving.abort(new Error('left'));
    expect(await rejection(waiting)).to.have.property('message', 'left');
    place.release();
    (await placeOf(admission)).release();
  });

  it('takes the place of a client that reads nothing for one that waits, and no other place', async () => {
    const admission = admissionOf({ floorMs: 5 });
    const displaced: string[] = [];
    const stalled = await placeOf(admission, MIB * 9, () => {
      displaced.push('stalled');
      stalled.release();
    });
    const reading = await placeOf(admission, MIB * 9, () => displaced.push('reading'));
    stalled.blocked();
    reading.blocked();
    reading.taken();
    (await placeOf(admission)).release();
    expect(displaced).to.deep.equal(['stalled']);
    expect(admission.usage).to.include({ displaced: 1, refused: 0 });
    reading.release();
  });

  it('leaves a client its place that has read nothing for a shorter time, although another one waits', async () => {
    const clock = sinon.useFakeTimers({
      toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'],
    });
    const admission = admissionOf({ maxHeldBytes: 7 * MIB });
    const place = await placeOf(admission);
    place.blocked();
    const waiting = rejection(placeOf(admission));
    clock.tick(ADMISSION_LIMITS.floorMs);
    expect(admission.usage).to.include({ displaced: 0, waiting: 1 });
    clock.tick(ADMISSION_LIMITS.maxWaitMs);
    await waiting;
    expect(admission.usage).to.include({ displaced: 1 });
    clock.restore();
    place.release();
  });

  it('leaves a slow client its place if no other client waits', async () => {
    const admission = admissionOf({ floorMs: 1 });
    const place = await placeOf(admission, 64 * MIB, () => {
      throw new Error('displaced');
    });
    place.blocked();
    await new Promise((resolve) => setImmediate(resolve));
    place.release();
  });

  it('limits the requests of one client and of all clients, and does not count ended ones', () => {
    const admission = admissionOf({ maxRunningPerClient: 2, maxRunning: 3 });
    const ends = ['192.0.2.1', '192.0.2.1'].map((client) => admission.begin(client));
    expect(() => admission.begin('192.0.2.1')).to.throw('this client fetches too many packages at a time');
    const other = admission.begin('192.0.2.2');
    expect(() => admission.begin(undefined)).to.throw('too many packages are fetched at a time');
    ends[0]?.();
    admission.begin('192.0.2.1')();
    ends[1]?.();
    other();
    for (let times = 0; times < 10; times++) admission.begin('192.0.2.1')();
  });

  describe('over HTTP', () => {
    const image = makePackage(16 * MIB);
    const delivery = (): Delivery => ({
      package: { digest: image.digest, layer: image.layer.descriptor },
      cache: { kind: 'miss', isStored: () => true, source: () => undefined },
      blob: {
        size: image.layer.bytes.byteLength,
        read: (offset) => Promise.resolve(image.layer.bytes.subarray(offset, offset + 65_536)),
        close: () => Promise.resolve(),
      },
    });
    const unused = { execute: () => Promise.reject(new Error()), manifest: () => Promise.reject(new Error()) };
    const get = { execute: () => Promise.resolve(delivery()), head: unused.execute };
    const start = (admission: Admission) => startHttpApp({ admission, packages: { get, manifests: unused } });
    const path = `/package?digest=${image.digest}`;
    async function stall(port: number, forwarded = ''): Promise<Socket> {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', ignored).write(`GET ${path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ${forwarded}\r\n\r\n`);
      await once(socket, 'readable');
      return socket;
    }

    it('answers 503 with Retry-After before the head, and serves probes meanwhile', async () => {
      const app = await start(admissionOf({ maxHeldBytes: 1, maxWaitMs: 10 }));
      const socket = await stall(app.port);
      const { statusCode, headers, body } = await got(`${app.url}${path}`, {
        throwHttpErrors: false,
        retry: { limit: 0 },
      });
      expect([statusCode, body]).to.deep.equal([503, 'too many packages are being sent\n']);
      expect(Number(headers['retry-after'])).to.be.within(5, 15);
      expect((await got(`${app.url}/healthz`)).statusCode).to.equal(200);
      socket.destroy();
      await app.close();
    });

    it('admits the next client when a package cannot be opened', async () => {
      const admission = admissionOf({ maxHeldBytes: 1 });
      let turns = 0;
      const failing: Pick<GetPackage, 'execute'> = {
        execute: async (_request, _leaving, turn) => {
          await turn?.(MIB);
          turns++;
          throw new StoreFailedError();
        },
      };
      const app = await startHttpApp({
        admission,
        packages: { get: { ...get, ...failing }, manifests: unused },
      });
      for (const time of [1, 2]) {
        await got(`${app.url}${path}`, { throwHttpErrors: false, retry: { limit: 0 } });
        expect(turns).to.equal(time);
      }
      await app.finishedCount(2);
      expect(admission.usage).to.include({ running: 0, sending: 0, waiting: 0 });
      await app.close();
    });

    it('keeps the place of a request from the opening of its package until the end of its body', async () => {
      const admission = admissionOf({ maxHeldBytes: 1 });
      const waiting: Pick<GetPackage, 'execute'> = {
        execute: async (_request, _leaving, turn) => {
          for (let times = 0; times < 2; times++) await turn?.(16 * MIB);
          expect(admission.usage).to.include({ sending: 1, waiting: 0 });
          return delivery();
        },
      };
      const app = await startHttpApp({
        admission,
        packages: { get: { ...get, ...waiting }, manifests: unused },
      });
      for (let times = 0; times < 2; times++) {
        expect((await got(`${app.url}${path}`).buffer()).byteLength).to.equal(image.layer.bytes.byteLength);
      }
      await app.close();
    });

    it('resets a client that reads nothing when another one waits, which gets the whole package', async () => {
      const app = await start(admissionOf({ maxHeldBytes: 1, floorMs: 50 }));
      const socket = await stall(app.port);
      const closed = new Promise((resolve) => socket.once('close', resolve));
      const { rawBody } = await got(`${app.url}${path}`, { retry: { limit: 0 } });
      expect(rawBody.byteLength).to.equal(16 * MIB);
      socket.resume();
      await closed;
      await app.close();
    });

    describe('whose body is written completely but still in the socket buffer', () => {
      const small = makePackage(MIB, 7);
      const smallDelivery = (): Delivery => ({
        package: { digest: small.digest, layer: small.layer.descriptor },
        cache: { kind: 'hit', storedAt: new Date() },
        blob: {
          size: MIB,
          read: (offset) => Promise.resolve(small.layer.bytes.subarray(offset)),
          close: () => Promise.resolve(),
        },
      });
      async function sendTo(socketOf: (port: number) => Promise<Socket>, limits: Partial<AdmissionLimits>) {
        const admission = admissionOf({ maxHeldBytes: 1, ...limits });
        const get = { ...unused, execute: () => Promise.resolve(smallDelivery()), head: unused.execute };
        const app = await startHttpApp({ admission, packages: { get, manifests: unused } });
        const socket = await socketOf(app.port);
        await app.finishedCount(1);
        const next = got(`${app.url}${path}`, { retry: { limit: 0 } }).buffer();
        return { app, admission, socket, next };
      }

      it('keeps the place until the client has read the buffer', async () => {
        const { app, admission, socket, next } = await sendTo(stall, { floorMs: 60_000 });
        await eventually(async () => {
          await Promise.resolve();
          expect(admission.usage).to.include({ sending: 0, waiting: 1 });
        });
        socket.resume();
        expect((await next).byteLength).to.equal(MIB);
        expect(admission.usage.displaced).to.equal(0);
        socket.destroy();
        await app.close();
      });

      it('loses its connection if its client reads nothing and another one waits', async () => {
        const { app, admission, socket, next } = await sendTo(stall, { floorMs: 50 });
        const reset = rejection(once(socket, 'end'));
        socket.resume().pause();
        expect((await next).byteLength).to.equal(MIB);
        expect(admission.usage.displaced).to.equal(1);
        socket.resume();
        expect(await reset).to.have.property('code', 'ECONNRESET');
        await app.close();
      });

      it('loses its connection if its client sends further requests without reading', async () => {
        const admission = admissionOf({ maxHeldBytes: 14 * MIB });
        const get = { ...unused, execute: () => Promise.resolve(smallDelivery()), head: unused.execute };
        const app = await startHttpApp({ admission, packages: { get, manifests: unused } });
        const sockets: Socket[] = [];
        for (let count = 1; count <= 12; count++) {
          const socket = await stall(app.port);
          sockets.push(socket);
          await app.finishedCount(count);
        }
        for (const socket of sockets) socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\n\r\n`);
        await app.finishedCount(24);
        const reset = Promise.any(sockets.map((socket) => once(socket, 'error')));
        for (const socket of sockets) socket.resume();
        expect(await reset).to.have.nested.property('[0].code', 'ECONNRESET');
        for (const socket of sockets) socket.destroy();
        await app.close();
      });

      it('gives its place to the next response of the same connection', async () => {
        const agent = new Agent({ keepAlive: true, maxSockets: 1 });
        const app = await startHttpApp({
          admission: admissionOf({ maxHeldBytes: 1, maxWaitMs: 10 }),
          packages: {
            get: { ...unused, execute: () => Promise.resolve(smallDelivery()), head: unused.execute },
            manifests: unused,
          },
        });
        for (let times = 0; times < 3; times++) {
          const { rawBody } = await got(`${app.url}${path}`, { agent: { http: agent }, retry: { limit: 0 } });
          expect(rawBody.byteLength).to.equal(MIB);
        }
        agent.destroy();
        await app.close();
      });
    });

    it('closes the connection of such a client also with TLS', async () => {
      const { cert, key } = serverCertificate('localhost');
      const admission = admissionOf({ maxHeldBytes: 1, floorMs: 50 });
      const ended: Promise<void>[] = [];
      const files = { certificate: cert, key, clientCa: CA };
      const tls = new MutualTls({ files, clientNames: ['localhost'] });
      const server = new HttpServer((_request, res) => {
        const size = image.layer.bytes.byteLength;
        const writeHead = (): unknown => res.writeHead(200, { 'Content-Length': String(size) });
        ended.push(
          sendInTurn({ res }, delivery().blob, admission, new AbortController().signal, {
            start: 0,
            end: size,
            writeHead,
            onSent: ignored,
          }),
        );
      }, tls);
      const { port } = await server.listen('127.0.0.1', 0);
      const stalled = connectTls({ port, ca: CA, cert, key, servername: 'localhost' }).on('error', ignored);
      stalled.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      await once(stalled, 'readable');
      const https = { certificateAuthority: CA, certificate: cert, key };
      const { rawBody } = await got(`https://127.0.0.1:${String(port)}/`, { https, retry: { limit: 0 } });
      expect(rawBody.byteLength).to.equal(16 * MIB);
      expect(await rejection(ended[0] ?? Promise.resolve())).to.be.instanceOf(ClientGoneError);
      stalled.destroy();
      await server.close(0);
    });

    it('limits a client by the address that the sidecar adds, and does not limit the sidecar itself', async () => {
      const app = await start(admissionOf({ maxRunningPerClient: 1, maxHeldBytes: Infinity }));
      const sockets = [await stall(app.port, '192.0.2.1'), await stall(app.port, '192.0.2.2'), await stall(app.port)];
      const ask = (client: string) =>
        got.head(`${app.url}${path}`, {
          headers: { 'x-forwarded-for': client },
          throwHttpErrors: false,
          retry: { limit: 0 },
        });
      expect((await ask('192.0.2.1')).statusCode).to.equal(503);
      expect((await ask('192.0.2.3')).statusCode).to.equal(500);
      for (const socket of sockets) socket.destroy();
      await app.close();
    });
  });
});
