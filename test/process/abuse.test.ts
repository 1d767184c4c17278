import { expect } from 'chai';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { NASTY_REQUESTS } from '../support/nasty-requests.ts';
import { exchange, RawConnection } from '../support/raw-connection.ts';
import { ServiceProcess } from '../support/service-process.ts';

describe('the service under nasty requests', () => {
  const image = makePackage(1000);
  let registry: FakeRegistry;
  /** The proxy for all requests that do not go to loopback. */
  let outside: Server;
  let dials: string[];
  let service: ServiceProcess;

  before(async () => {
    registry = await FakeRegistry.start();
    registry.publish(image);
    dials = [];
    outside = createServer((request, response) => {
      dials.push(request.url ?? '');
      response.writeHead(502).end();
    }).on('connect', (request, socket) => {
      dials.push(request.url ?? '');
      socket.destroy();
    });
    await new Promise<void>((resolve) => outside.listen(0, '127.0.0.1', resolve));
    const proxy = `http://127.0.0.1:${String((outside.address() as AddressInfo).port)}`;
    service = await ServiceProcess.start({
      settings: {
        credentials: { registries: [{ repo: `${registry.host}/deckhouse/ee`, default: true, scheme: 'HTTP' }] },
      },
      environment: { HTTP_PROXY: proxy, HTTPS_PROXY: proxy },
      isConfined: true,
    });
    expect((await service.client(`package?digest=${image.digest}`)).statusCode).to.equal(200);
    registry.log.length = 0;
  });
  after(async () => {
    await service.close();
    await registry.close();
    await new Promise((resolve) => outside.close(resolve));
  });

  for (const { what, bytes, status } of NASTY_REQUESTS) {
    it(`answers ${String(status)} to ${what}`, async () => {
      const connection = new RawConnection(connect(service.port, '127.0.0.1'));
      const { answers } = await exchange(connection, bytes.replaceAll('DIGEST', image.digest));
      await connection.close();
      expect(answers.map((answer) => answer.status)).to.deep.equal([status]);
      // The answer contains no header and no text of the request.
      expect(answers[0]?.headers.has('x-a')).to.equal(false);
      expect(dials).to.deep.equal([]);
      expect(registry.log).to.deep.equal([]);
    });
  }
});
