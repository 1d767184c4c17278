import { expect } from 'chai';
import { gzipSync } from 'node:zlib';
import {
  gunzipAtMost,
  gunzipped,
  isEncoded,
  isLabelledGzip,
  isMarkup,
  mediaTypeOf,
} from '../../../../src/adapters/registry/body.ts';
import { expectLinear } from '../../../support/hostile-text.ts';
import { bytesOf, makeBlob } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

const { bytes, descriptor } = makeBlob('application/octet-stream', bytesOf(300_000));
const encoded = gzipSync(bytes);
const broken = new Error('broken');

/** In pieces, each of which is overwritten when the next is asked for, as the body of a large blob does. */
async function* pieces(all: Uint8Array, error?: Error): AsyncGenerator<Uint8Array> {
  const memory = new Uint8Array(10_000);
  for (let at = 0; at < all.byteLength; at += memory.byteLength) {
    const piece = all.subarray(at, at + memory.byteLength);
    memory.set(piece);
    yield memory.subarray(0, piece.byteLength);
    memory.fill(0);
  }
  if (error !== undefined) throw error;
}

async function all(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const copies: Buffer[] = [];
  for await (const chunk of chunks) copies.push(Buffer.from(chunk));
  return Buffer.concat(copies);
}

describe('isLabelledGzip', () => {
  it('recognizes both names of gzip, also in a list', () => {
    for (const label of ['gzip', 'x-gzip', 'GZip', 'aws-chunked,gzip', 'aws-chunked, x-gzip ', 'gzip, ']) {
      expect(isLabelledGzip({ 'content-encoding': label }), label).to.equal(true);
    }
    for (const label of ['', 'identity', 'aws-chunked', 'none', 'br', 'gzipped', 'x-gzip-2']) {
      expect(isLabelledGzip({ 'content-encoding': label }), label).to.equal(false);
    }
    expect(isLabelledGzip({})).to.equal(false);
  });

  it('reads 64 KiB of any text in linear time', () => {
    expectLinear(['gzip', 'x-', ',', ' ', '\t'], (text) => isLabelledGzip({ 'content-encoding': text }));
  });
});

describe('gunzipAtMost', () => {
  it('decodes gzip of at most the limit', async () => {
    expect(await gunzipAtMost(encoded, bytes.byteLength)).to.deep.equal(Buffer.from(bytes));
    expect(await gunzipAtMost(encoded, bytes.byteLength - 1)).to.equal(undefined);
    expect(await gunzipAtMost(bytes, bytes.byteLength)).to.equal(undefined);
    expect(await gunzipAtMost(encoded.subarray(0, 1000), bytes.byteLength)).to.equal(undefined);
  });
});

describe('gunzipped', () => {
  it('decodes chunks whose memory is reused', async () => {
    expect(Buffer.compare(await all(gunzipped(pieces(encoded))), bytes)).to.equal(0);
  });

  it('rejects with the error of its source', async () => {
    expect(await rejection(all(gunzipped(pieces(encoded.subarray(0, 50_000), broken))))).to.equal(broken);
  });

  it('rejects bytes that are not gzip, and truncated gzip', async () => {
    expect(await rejection(all(gunzipped(pieces(bytes))))).to.have.property('code', 'Z_DATA_ERROR');
    const cut = await rejection(all(gunzipped(pieces(encoded.subarray(0, 50_000)))));
    expect(cut).to.have.property('code', 'Z_BUF_ERROR');
  });
});

describe('isEncoded', () => {
  const bomb = gzipSync(Buffer.alloc(50_000_000));

  for (const [what, content, expected] of [
    ['the blob behind gzip', encoded, true],
    ['the blob as it is', bytes, false],
    ['another blob behind gzip', gzipSync(bytesOf(300_000, 2)), false],
    ['a shorter one', gzipSync(bytes.subarray(1)), false],
    ['a bomb', bomb, false],
  ] as const) {
    it(`says ${String(expected)} for ${what}`, async () => {
      expect(await isEncoded(descriptor, pieces(content))).to.equal(expected);
    });
  }

  it('stops reading when there are too many bytes', async () => {
    const large = gzipSync(bytesOf(3_000_000));
    let read = 0;
    async function* counted(): AsyncGenerator<Uint8Array> {
      for await (const piece of pieces(large)) {
        read += piece.byteLength;
        yield piece;
      }
    }
    await isEncoded({ ...descriptor, size: 1000 }, counted());
    expect(read).to.be.lessThan(large.byteLength);
  });

  it('rejects truncated content', async () => {
    const cut = encoded.subarray(0, 50_000);
    expect(await rejection(isEncoded(descriptor, pieces(cut, broken)))).to.equal(broken);
    expect(await rejection(isEncoded(descriptor, pieces(cut)))).to.have.property('code', 'Z_BUF_ERROR');
  });
});

describe('mediaTypeOf', () => {
  for (const [header, type] of [
    ['text/html', 'text/html'],
    ['Text/HTML; charset=utf-8', 'text/html'],
    [' application/vnd.oci.image.manifest.v1+json ;x', 'application/vnd.oci.image.manifest.v1+json'],
    ['', undefined],
    ['html', undefined],
    ['text/html\x1b[2J', undefined],
    ['text/html, text/plain', undefined],
    [`text/${'a'.repeat(128)}`, undefined],
  ] as const) {
    it(`finds ${type ?? 'none'} in ${JSON.stringify(header.slice(0, 60))}`, () => {
      expect(mediaTypeOf({ 'content-type': header })).to.equal(type);
    });
  }

  it('finds none without a header', () => {
    expect(mediaTypeOf({})).to.equal(undefined);
  });

  it('reads 64 KiB of any text in linear time', () => {
    expectLinear(['a', '/', ';', ' ', '+'], (text) => mediaTypeOf({ 'content-type': text }));
  });
});

describe('isMarkup', () => {
  it('recognizes pages by their first bytes', () => {
    for (const text of ['<!DOCTYPE html>', '\n <html>', '<!-- sign in -->', '\ufeff<?xml version="1.0"?>']) {
      expect(isMarkup(Buffer.from(text)), text).to.equal(true);
    }
    for (const text of ['', '{"a":"<"}', 'plain <', '<', '<htmlx', '\x1f\x8b<'])
      expect(isMarkup(Buffer.from(text)), text).to.equal(false);
  });
});
