import { expect } from 'chai';
import { isMarkup, mediaTypeOf } from '../../../../src/adapters/registry/media-type.ts';
import { expectLinear } from '../../../support/hostile-text.ts';

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

  it('reads 64 KiB of anything in linear time', () => {
    expectLinear(['a', '/', ';', ' ', '+'], (text) => mediaTypeOf({ 'content-type': text }));
  });
});

describe('isMarkup', () => {
  it('knows pages by how they begin', () => {
    for (const text of ['<!DOCTYPE html>', '\n <html>', '<!-- sign in -->', '\ufeff<?xml version="1.0"?>']) {
      expect(isMarkup(Buffer.from(text)), text).to.equal(true);
    }
    for (const text of ['', '{"a":"<"}', 'plain <', '<', '<htmlx', '\x1f\x8b<'])
      expect(isMarkup(Buffer.from(text)), text).to.equal(false);
  });
});
