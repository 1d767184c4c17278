import { expect } from 'chai';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { get, type GetOptions } from '../../bench/faults/traffic/client.ts';
import { BudgetWatch } from '../../bench/faults/validate/budget-watch.ts';
import { Random } from '../../bench/faults/traffic/random.ts';
import { makePackage } from '../support/image.ts';

const image = makePackage(100_000);
const { bytes } = image.layer;
const length = { 'content-length': bytes.byteLength };

describe('the client of the fault bench', () => {
  let server: Server;
  let serve: (response: ServerResponse) => void;
  let port: number;
  before(async () => {
    server = createServer((_request, response) => {
      serve(response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    ({ port } = server.address() as AddressInfo);
  });
  after(() => {
    server.close();
  });

  const forged = bytes.map((byte, index) => (index === 50_000 ? byte ^ 1 : byte));
  const answers: readonly [what: string, verdict: string, serve: (response: ServerResponse) => void, GetOptions?][] = [
    ['the package', 'whole', (response) => response.writeHead(200, length).end(bytes)],
    ['a wrong byte in it', 'wrong', (response) => response.writeHead(200, length).end(forged)],
    ['a normal end before its end', 'wrong', (response) => response.end(bytes.subarray(1))],
    ['more than it', 'wrong', (response) => response.end(Buffer.concat([bytes, bytes]))],
    ['nothing, as if that were it', 'wrong', (response) => response.writeHead(200, { 'content-length': 0 }).end()],
    [
      'a connection that breaks',
      'cut',
      (response) => response.writeHead(200, length).write(bytes.subarray(1), () => response.destroy()),
    ],
    ['an error', 'refused', (response) => response.writeHead(502).end('no')],
    ['no answer', 'unreachable', (response) => response.destroy()],
    [
      'silence',
      'late',
      (response) => {
        response.writeHead(200, length).flushHeaders();
      },
      { budgetMs: 50 },
    ],
    [
      'what it leaves',
      'left',
      (response) => response.writeHead(200, length).write(bytes.subarray(1)),
      { leaveAfter: 9 },
    ],
    [
      'the range that it wanted',
      'whole',
      (response) => response.writeHead(206, { 'content-length': 10 }).end(bytes.subarray(5, 15)),
      { range: [5, 15] },
    ],
    [
      'another range',
      'wrong',
      (response) => response.writeHead(206, { 'content-length': 10 }).end(bytes.subarray(6, 16)),
      { range: [5, 15] },
    ],
    ['a head', 'whole', (response) => response.writeHead(200, length).end(), { method: 'HEAD' }],
  ];
  for (const [what, verdict, answer, options] of answers) {
    it(`judges ${what} as ${verdict}`, async () => {
      serve = answer;
      expect(await get(port, image, options)).to.include({ verdict });
    });
  }

  it('finds a secret in a header and in an error', async () => {
    serve = (response) => response.writeHead(200, { ...length, 'x-told': 'canary' }).end(bytes);
    expect((await get(port, image)).canary).to.include('x-told');
    serve = (response) => response.writeHead(502).end('the canary');
    expect((await get(port, image)).canary).to.equal('the canary');
  });
});

describe('the budget watch of the fault bench', () => {
  it('measures the bytes by which a cache exceeds its budget', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'budget-'));
    const watched = { directory, pid: process.pid };
    await mkdir(join(directory, 'v1/blobs/sha256'), { recursive: true });
    await writeFile(join(directory, 'v1/blobs/sha256/x'), Buffer.alloc(8192, 1));
    expect(await new BudgetWatch({ ...watched, maxBytes: 8192 }).end()).to.include({ exceeded: 0, peakBytes: 8192 });
    expect((await new BudgetWatch({ ...watched, maxBytes: 8191 }).end()).exceeded).to.be.greaterThan(0);
    await rm(directory, { recursive: true });
  });
});

describe('the random source of the fault bench', () => {
  it('repeats its values only for the same seed', () => {
    const drawn = (seed: string): unknown[] => {
      const random = new Random(seed);
      return [random.between(0, 1e9), random.fork().between(0, 1e9), random.bytes(8).join(), random.pick([1, 2, 3, 4])];
    };
    expect(drawn('1/F1')).to.deep.equal(drawn('1/F1'));
    expect(drawn('1/F1')).not.to.deep.equal(drawn('1/F2'));
  });
});
