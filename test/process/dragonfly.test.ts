import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { ServiceProcess } from '../support/service-process.ts';

/** dfdaemon's default, `concurrentPieceCount` in its configuration. */
const PIECES_AT_A_TIME = 10;
const PIECE_BYTES = 4 * 1024 ** 2;
const SIZE = 23 * PIECE_BYTES + 1000;

/** The source of dfdaemon 1.2 (dragonfly-client-backend/src/http.rs): `stat` is a GET of which it reads the headers only. */
class Dfdaemon {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  async contentLength(): Promise<number> {
    const response = await this.#ask({});
    const length = Number(response.headers['content-length']);
    expect(response.headers['transfer-encoding']).to.equal(undefined);
    response.destroy();
    return length;
  }

  async piece(start: number, length: number): Promise<Buffer> {
    const response = await this.#ask({ range: `bytes=${String(start)}-${String(start + length - 1)}` });
    expect(response.statusCode).to.equal(206);
    return Buffer.concat((await response.toArray()) as Buffer[]);
  }

  close(): void {
    this.#agent.destroy();
  }

  async #ask(headers: Record<string, string>): Promise<IncomingMessage> {
    const request = get(this.#url, { agent: this.#agent, headers: { 'user-agent': 'dragonfly', ...headers } });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return response;
  }
}

describe('the source of a P2P engine', () => {
  let registry: FakeRegistry;
  let service: ServiceProcess;

  beforeEach(async () => {
    registry = await FakeRegistry.start();
    const registries = [{ repo: `${registry.host}/deckhouse/ee`, default: true, scheme: 'HTTP' }];
    service = await ServiceProcess.start({ settings: { credentials: { registries } } });
  });
  afterEach(async () => {
    await service.close();
    await registry.close();
  });

  it('reads the length and the pieces of a package, in any order, from one download', async () => {
    const image = makePackage(SIZE);
    registry.publish(image);
    const dfdaemon = new Dfdaemon(`http://127.0.0.1:${String(service.port)}/package?digest=${image.digest}`);
    const length = await dfdaemon.contentLength();
    expect(length).to.equal(SIZE);
    const starts = Array.from({ length: Math.ceil(length / PIECE_BYTES) }, (_, index) => index * PIECE_BYTES);
    const waiting = starts.toReversed();
    const pieces = new Map<number, Buffer>();
    const fetchPieces = async (): Promise<void> => {
      for (let start = waiting.pop(); start !== undefined; start = waiting.pop()) {
        pieces.set(start, await dfdaemon.piece(start, Math.min(PIECE_BYTES, length - start)));
      }
    };
    await Promise.all(Array.from({ length: PIECES_AT_A_TIME }, fetchPieces));
    const hash = createHash('sha256');
    for (const start of starts) hash.update(pieces.get(start) ?? '');
    expect(`sha256:${hash.digest('hex')}`).to.equal(image.layer.descriptor.digest);
    const asked = registry.log.filter(({ url }) => url.includes(`/blobs/${image.layer.descriptor.digest}`));
    expect(asked).to.have.lengthOf(1);
    dfdaemon.close();
  });
});
