import { expect } from 'chai';
import fc from 'fast-check';
import type { ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { partOf } from '../../../../src/adapters/registry/blob-download.ts';
import { InvalidContentError, UpstreamDeniedError, UpstreamUnavailableError } from '../../../../src/domain/errors.ts';
import { FakeRegistry, type LoggedRequest } from '../../../support/fake-registry.ts';
import { expectLinear, nearMiss } from '../../../support/hostile-text.ts';
import { bytesOf, makeBlob, makePackage } from '../../../support/image.ts';
import { makeRegistryGateway } from '../../../support/registry-gateway.ts';
import { rejection } from '../../../support/rejection.ts';

const image = makePackage(200_000);
const { bytes, descriptor } = image.layer;
const encoded = gzipSync(bytes);
const never = new AbortController().signal;

describe('downloadBlob', () => {
  let registry: FakeRegistry;
  beforeEach(async () => {
    registry = await FakeRegistry.start();
    registry.publish(image);
  });
  afterEach(() => registry.close());

  async function read(offset = 0, blob = descriptor): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of await makeRegistryGateway().fetchBlob(registry.upstream(), blob, offset, never))
      chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks);
  }

  /** Answers requests for blobs, or only those with a range. */
  function answer(which: 'all' | 'ranges', how: (response: ServerResponse, start: number) => void): void {
    registry.script(({ url, headers }, response) => {
      if (!url.includes('/blobs/') || (which === 'ranges' && headers.range === undefined)) return false;
      how(response, Number(/\d+/.exec(headers.range ?? '0')?.[0]));
      return true;
    });
  }
  const ranges = (): (string | undefined)[] => registry.log.map(({ headers }: LoggedRequest) => headers.range);
  const expectRest = (rest: Uint8Array, offset = 0): void => {
    expect(Buffer.compare(rest, bytes.subarray(offset))).to.equal(0);
  };
  const isUnavailable = async (offset = 0): Promise<string> => {
    const error = await rejection(read(offset));
    expect(error).to.be.instanceOf(UpstreamUnavailableError);
    return (error.cause as Error).message;
  };

  describe('a part', () => {
    it('is requested with a closed range', async () => {
      expectRest(await read(150_000), 150_000);
      expect(ranges()).to.deep.equal(['bytes=150000-199999']);
    });

    it('is read from the whole blob if the registry does not support ranges', async () => {
      answer('all', (response) => response.end(bytes));
      expectRest(await read(150_000), 150_000);
      expect(registry.log).to.have.lengthOf(1);
    });

    for (const status of [400, 405, 406, 412, 413, 416, 417, 501]) {
      it(`is read from the whole blob if the range is refused with ${String(status)}`, async () => {
        answer('ranges', (response) => response.writeHead(status).end('no'));
        expectRest(await read(150_000), 150_000);
        expect(ranges()).to.deep.equal(['bytes=150000-199999', undefined]);
      });
    }

    for (const status of [400, 416, 501]) {
      it(`is read from the whole blob if the storage of a redirect refuses the range with ${String(status)}`, async () => {
        registry.script(({ url, headers }, response) => {
          if (url.startsWith('/storage')) {
            if (headers.range === undefined) response.end(bytes);
            else response.writeHead(status).end();
          } else response.writeHead(307, { location: `${registry.origin}/storage?signature=x` }).end();
          return true;
        });
        expectRest(await read(150_000), 150_000);
      });
    }

    for (const [status, type] of [
      [403, UpstreamDeniedError],
      [410, UpstreamUnavailableError],
    ] as const) {
      it(`is not requested again after ${String(status)}`, async () => {
        answer('ranges', (response) => response.writeHead(status).end());
        expect(await rejection(read(150_000))).to.be.instanceOf(type);
        expect(registry.log).to.have.lengthOf(1);
      });
    }

    for (const [what, header] of [
      ['no Content-Range', undefined],
      ['a Content-Range that is none', 'chapters 3-4'],
      ['the range of another part', 'bytes 160000-199999/200000'],
      ['the range of another whole', 'bytes 150000-199999/200001'],
    ] as const) {
      it(`is read from the whole blob if the answer has ${what}`, async () => {
        answer('ranges', (response, start) => {
          response.writeHead(206, header === undefined ? {} : { 'content-range': header }).end(bytes.subarray(start));
        });
        expectRest(await read(150_000), 150_000);
      });
    }

    it('is read from several answers', async () => {
      answer('ranges', (response) => {
        const headers = { 'content-type': 'multipart/byteranges; boundary=x' };
        response.writeHead(206, headers).end('--x\r\nContent-Range: bytes 150000-199999/200000\r\n\r\n');
      });
      expectRest(await read(150_000), 150_000);
    });

    it('can be the whole blob, or begin earlier', async () => {
      for (const start of [0, 149_999]) {
        registry.failTimes('/blobs/', {
          status: 206,
          headers: { 'content-range': `bytes ${String(start)}-199999/200000` },
          body: bytes.subarray(start),
        });
        expectRest(await read(150_000), 150_000);
      }
      expect(registry.log).to.have.lengthOf(2);
    });

    it('can be smaller; then the next part is requested', async () => {
      answer('ranges', (response, start) => {
        const part = bytes.subarray(start, start + 65_536);
        const range = `bytes ${String(start)}-${String(start + part.byteLength - 1)}/*`;
        response.writeHead(206, { 'content-range': range }).end(part);
      });
      expectRest(await read(1000), 1000);
      expect(ranges()).to.deep.equal([
        'bytes=1000-199999',
        'bytes=66536-199999',
        'bytes=132072-199999',
        'bytes=197608-199999',
      ]);
    });

    it('is read from the whole blob if parts are tiny', async () => {
      answer('ranges', (response, start) => {
        response.writeHead(206, { 'content-range': `bytes ${String(start)}-${String(start)}/200000` });
        response.end(bytes.subarray(start, start + 1));
      });
      expectRest(await read(1000), 1000);
      expect(ranges()).to.deep.equal(['bytes=1000-199999', undefined]);
    });
  });

  describe('a whole', () => {
    for (const [what, status, headers] of [
      ['another length', 200, { 'content-length': '5' }],
      ['a part where all was asked for', 206, { 'content-range': 'bytes 0-4/200000', 'content-length': '5' }],
      ['a part without a range', 206, {}],
    ] as const) {
      it(`is refused with ${what}`, async () => {
        answer('all', (response) => response.writeHead(status, headers).end('xxxxx'));
        expect(await isUnavailable()).to.include('does not have the requested bytes');
        expect(registry.log).to.have.lengthOf(1);
      });
    }

    it('can come as a part that has all bytes', async () => {
      answer('all', (response) => response.writeHead(206, { 'content-range': 'bytes 0-199999/200000' }).end(bytes));
      expectRest(await read());
    });

    for (const [how, end] of [
      ['a last chunk', (response: ServerResponse) => response.end()],
      ['the end of the connection', (response: ServerResponse) => response.socket?.end()],
    ] as const) {
      it(`that ends early, by ${how}, rejects after all received bytes`, async () => {
        answer('all', (response) => {
          if (how !== 'a last chunk') response.useChunkedEncodingByDefault = false;
          response.writeHead(200, { connection: 'close' });
          response.write(bytes.subarray(0, 100_000), () => end(response));
        });
        let received = 0;
        const reading = (async () => {
          const chunks = await makeRegistryGateway().fetchBlob(registry.upstream(), descriptor, 0, never);
          for await (const chunk of chunks) received += chunk.byteLength;
        })();
        const error = await rejection(reading);
        expect(error).to.be.instanceOf(UpstreamUnavailableError);
        expect(error).to.have.nested.property('cause.message').that.includes('ERR_BODY_INCOMPLETE');
        expect(received).to.equal(100_000);
      });
    }

    it('that is longer goes to the reader, and the digest refuses it', async () => {
      answer('all', (response) => {
        response.write(bytes);
        response.end('more');
      });
      expect(await read()).to.have.lengthOf(200_004);
    });

    for (const [length, what] of [
      [undefined, 'without a length'],
      [37, 'with its own length'],
    ] as const) {
      it(`that is a login page ${what} is reported as such`, async () => {
        answer('all', (response) => {
          response.writeHead(200, { 'content-type': 'text/html', ...(length && { 'content-length': length }) });
          response.end('<!DOCTYPE html><title>Sign in</title>');
        });
        expect(await isUnavailable()).to.include('answer is text/html, not a blob');
      });
    }

    it('that is labelled as a page but is not one is accepted', async () => {
      answer('all', (response) => {
        response.writeHead(200, { 'content-type': 'text/html' });
        response.end(bytes);
      });
      expectRest(await read());
    });
  });

  describe('a label', () => {
    for (const label of ['aws-chunked', 'aws-chunked,gzip', 'x-gzip', 'gzip', 'Identity', '', 'none', 'br']) {
      for (const framing of ['with a length', 'in chunks']) {
        it(`${JSON.stringify(label)} ${framing} does not prevent the delivery of the right bytes`, async () => {
          answer('all', (response) => {
            const length = framing === 'in chunks' ? {} : { 'content-length': bytes.byteLength };
            response.writeHead(200, { 'content-encoding': label, ...length }).end(bytes);
          });
          expectRest(await read());
          expectRest(await read(150_000), 150_000);
        });
      }
    }

    it('does not prevent the use of a part that is not gzip', async () => {
      answer('ranges', (response, start) => {
        const range = `bytes ${String(start)}-199999/200000`;
        response
          .writeHead(206, { 'content-encoding': 'aws-chunked', 'content-range': range })
          .end(bytes.subarray(start));
      });
      expectRest(await read(150_000), 150_000);
      expect(registry.log).to.have.lengthOf(1);
    });
  });

  for (const framing of ['with a length', 'in chunks']) {
    describe(`encoded content ${framing}`, () => {
      const serve = (content: Uint8Array, label = 'gzip'): void => {
        answer('all', (response) => {
          const length = framing === 'in chunks' ? {} : { 'content-length': content.byteLength };
          response.writeHead(200, { 'content-encoding': label, ...length }).end(content);
        });
      };

      for (const label of ['gzip', 'x-gzip', 'aws-chunked, gzip']) {
        it(`is decoded if it is labelled ${label}`, async () => {
          serve(encoded, label);
          expectRest(await read());
        });
      }

      it('is decoded if the blob is gzip itself', async () => {
        const archive = makeBlob('application/vnd.oci.image.layer.v1.tar+gzip', gzipSync(bytesOf(100_000)));
        serve(gzipSync(archive.bytes));
        expect(Buffer.compare(await read(0, archive.descriptor), archive.bytes)).to.equal(0);
      });

      it('is read again from its beginning, because ranges count encoded bytes', async () => {
        serve(encoded);
        expectRest(await read(150_000), 150_000);
      });

      it('is delivered only until the digest can refuse it', async () => {
        serve(gzipSync(Buffer.alloc(50_000_000)));
        let received = 0;
        const reading = (async () => {
          const chunks = await makeRegistryGateway().fetchBlob(registry.upstream(), descriptor, 0, never);
          for await (const chunk of chunks) {
            received += chunk.byteLength;
            if (received > descriptor.size) throw new InvalidContentError('enough');
          }
        })();
        await rejection(reading);
        expect(received).to.be.lessThan(descriptor.size + 100_000);
      });

      it('that is cut off rejects', async () => {
        serve(encoded.subarray(0, 100_000));
        expect(await isUnavailable()).to.match(/Z_BUF_ERROR|ERR_BODY_INCOMPLETE/);
      });
    });
  }

  it('begins again if the answer is a part of encoded content', async () => {
    answer('all', (response, start) => {
      const headers = { 'content-encoding': 'gzip', 'content-length': encoded.byteLength - start };
      const range = `bytes ${String(start)}-${String(encoded.byteLength - 1)}/${String(encoded.byteLength)}`;
      response.writeHead(start > 0 ? 206 : 200, start > 0 ? { ...headers, 'content-range': range } : headers);
      response.end(encoded.subarray(start));
    });
    expectRest(await read(150_000), 150_000);
    expect(ranges()).to.deep.equal(['bytes=150000-199999', undefined]);
  });
});

const PIECES = [
  'bytes ',
  'bytes=',
  'Bytes',
  ' ',
  '-',
  '/',
  '*',
  ',',
  '0',
  '1',
  '9007199254740993',
  '+',
  '.0',
  'e3',
  '\n',
  '٣',
];
const blobs = fc
  .integer({ min: 2, max: Number.MAX_SAFE_INTEGER })
  .chain((size) => fc.record({ size: fc.constant(size), offset: fc.integer({ min: 1, max: size - 1 }) }));
const rangeOf = (offset: number, size: number): string => `bytes ${String(offset)}-${String(size - 1)}/${String(size)}`;

describe('partOf', () => {
  const cases: [status: number, headers: Record<string, string>, size: number, offset: number, expected?: string][] = [
    [200, { 'content-length': '100' }, 100, 0, '0-99'],
    [200, {}, 100, 0, '0-99'],
    [200, { 'content-length': '100' }, 100, 40, '0-99'],
    [200, { 'content-length': '60' }, 100, 40],
    [200, { 'content-length': '101' }, 100, 0],
    [200, { 'content-length': '0' }, 0, 0, '0--1'],
    [206, { 'content-range': 'bytes 40-99/100', 'content-length': '60' }, 100, 40, '40-99'],
    [206, { 'content-range': 'Bytes 40-99/100' }, 100, 40, '40-99'],
    [206, { 'content-range': 'bytes 40-99/*' }, 100, 40, '40-99'],
    [206, { 'content-range': 'bytes=40-99/100' }, 100, 40, '40-99'],
    [206, { 'content-range': 'bytes  40-99/100 ' }, 100, 40, '40-99'],
    [206, { 'content-range': 'bytes: 40-99/100' }, 100, 40, '40-99'],
    [206, { 'content-range': 'bytes 40-99' }, 100, 40, '40-99'],
    [206, { 'content-range': 'bytes 0-99/100', 'content-length': '100' }, 100, 40, '0-99'],
    [206, { 'content-range': 'bytes 39-99/100' }, 100, 40, '39-99'],
    [206, { 'content-range': 'bytes 40-49/100', 'content-length': '10' }, 100, 40, '40-49'],
    [206, { 'content-range': 'bytes 40-99/100', 'content-length': '100' }, 100, 40],
    [206, { 'content-range': 'bytes 41-99/100' }, 100, 40],
    [206, { 'content-range': 'bytes 0-39/100' }, 100, 40],
    [206, { 'content-range': 'bytes 40-100/100' }, 100, 40],
    [206, { 'content-range': 'bytes 40-99/101' }, 100, 40],
    [206, { 'content-range': 'bytes 99-40/100' }, 100, 40],
    [206, { 'content-range': 'bytes */100' }, 100, 40],
    [206, { 'content-range': 'items 40-99/100' }, 100, 40],
    [206, { 'content-range': 'bytes 40-49/100, bytes 50-99/100' }, 100, 40],
    [206, { 'content-type': 'multipart/byteranges; boundary=x' }, 100, 40],
    [206, { 'content-length': '60' }, 100, 40],
  ];
  for (const [status, headers, size, offset, expected] of cases) {
    const what = expected === undefined ? 'other bytes' : `the bytes ${expected}`;
    it(`finds ${what} in ${String(status)} ${JSON.stringify(headers)} from ${String(offset)} of ${String(size)}`, () => {
      const part = partOf({ status, headers }, size, offset);
      const range = part && `${String(offset - part.skip)}-${String(part.end - 1)}`;
      expect(range).to.equal(expected);
    });
  }

  it('accepts no part that begins after the offset, ends before it or exceeds the blob', () => {
    const answers = blobs.chain(({ size, offset }) => {
      const range = fc.constant(rangeOf(offset, size));
      return fc.record({
        size: fc.constant(size),
        offset: fc.constant(offset),
        range: fc.oneof(range, nearMiss(range, PIECES)),
      });
    });
    fc.assert(
      fc.property(answers, ({ size, offset, range }) => {
        const part = partOf({ status: 206, headers: { 'content-range': range } }, size, offset);
        if (range === rangeOf(offset, size)) expect(part).to.deep.equal({ skip: 0, end: size });
        if (part === undefined) return;
        expect(part.skip).to.be.within(0, offset);
        expect(part.end).to.be.within(offset + 1, size);
      }),
    );
  });

  it('accepts a matching length, or none', () => {
    fc.assert(
      fc.property(blobs, nearMiss(fc.constant('60'), PIECES), ({ size, offset }, length) => {
        const whole = { skip: offset, end: size };
        const headers = { 'content-length': length };
        const expected = length === String(size) ? whole : undefined;
        expect(partOf({ status: 200, headers }, size, offset)).to.deep.equal(expected);
        expect(partOf({ status: 200, headers: {} }, size, offset)).to.deep.equal(whole);
      }),
    );
  });

  it('reads 64 KiB of any text in linear time', () => {
    expectLinear(PIECES, (text) => partOf({ status: 206, headers: { 'content-range': text } }, 100, 40));
  });
});
