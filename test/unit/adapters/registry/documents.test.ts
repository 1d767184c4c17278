import { expect } from 'chai';
import { gzipSync } from 'node:zlib';
import { readManifest } from '../../../../src/adapters/registry/documents.ts';
import { InvalidContentError, UpstreamUnavailableError } from '../../../../src/domain/errors.ts';
import { bytesOf, encode, makePackage } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

const { digest, manifest } = makePackage(10);
const asked = { operation: 'manifest', host: 'registry.example' } as const;
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

describe('readManifest', () => {
  async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
    yield bytes;
  }
  function read(bytes: Uint8Array, headers: Record<string, string> = {}): Promise<Uint8Array> {
    const body = Object.assign(once(bytes), { destroy: () => undefined });
    return readManifest(digest, { asked, status: 200, headers, body }, 1000);
  }

  for (const headers of [
    {},
    { 'content-type': 'text/html' },
    { 'content-type': 'image/png' },
    ...['aws-chunked', 'gzip', 'x-gzip', 'Identity', '', 'none', 'br'].map((label) => ({ 'content-encoding': label })),
  ]) {
    it(`accepts the right bytes with any label: ${JSON.stringify(headers)}`, async () => {
      expect(await read(manifest.bytes, headers)).to.deep.equal(Buffer.from(manifest.bytes));
    });
  }

  for (const label of ['gzip', 'x-gzip', 'aws-chunked,gzip']) {
    it(`decodes content that is labelled ${label} correctly`, async () => {
      const bytes = await read(gzipSync(manifest.bytes), { 'content-encoding': label, 'content-type': MANIFEST });
      expect(bytes).to.deep.equal(Buffer.from(manifest.bytes));
    });
  }

  it('decodes nothing without such a label', async () => {
    const encoded = gzipSync(manifest.bytes);
    expect(await read(encoded)).to.deep.equal(encoded);
    expect(await read(encoded, { 'content-encoding': 'aws-chunked' })).to.deep.equal(encoded);
  });

  it('returns wrong bytes, encoded or not, which the digest refuses', async () => {
    const other = bytesOf(1000);
    for (const headers of [{}, { 'content-type': MANIFEST }, { 'content-encoding': 'gzip' }]) {
      expect(await read(other, headers)).to.deep.equal(Buffer.from(other));
      const encoded = gzipSync(other);
      expect(await read(encoded, { ...headers, 'content-encoding': 'gzip' })).to.deep.equal(encoded);
    }
  });

  it('refuses a decompression bomb, and more than 4 MiB', async () => {
    const bomb = gzipSync(Buffer.alloc(100_000_000));
    expect(await read(bomb, { 'content-encoding': 'gzip' })).to.deep.equal(bomb);
    expect(await rejection(read(new Uint8Array(4 * 1024 * 1024 + 1)))).to.be.instanceOf(InvalidContentError);
  });

  const page = '<!DOCTYPE html><title>Sign in</title>';
  const schema1 = '{"schemaVersion": 1, "name": "a", "fsLayers": [], "signatures": []}';
  const SCHEMA_1 = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
  for (const [what, body, type, named] of [
    ['a login page', page, 'text/html; charset=utf-8', 'text/html'],
    ['a login page without a type', page, '', 'text/html'],
    ['a login page of a wrong type', page, 'application/json', 'text/html'],
    ['an XHTML page', page, 'application/xhtml+xml', 'application/xhtml+xml'],
    ['a schema 1 manifest', schema1, SCHEMA_1, 'application/vnd.docker.distribution.manifest.v1+json'],
    [
      'a schema 1 manifest that says only JSON',
      schema1,
      'application/json',
      'application/vnd.docker.distribution.manifest.v1+json',
    ],
    ['a picture', 'PNG', 'image/png', 'image/png'],
    ['nothing', '', 'application/json', 'empty'],
    ['an error of a proxy', '{"errors":[{"code":"DENIED"}]}', 'application/json', 'other JSON (application/json)'],
    ['an error that is labelled as a manifest', '{"error":"canary"}', MANIFEST, `other JSON (${MANIFEST})`],
    ['an error without a type', '{"error":"canary"}', '', 'other JSON'],
  ] as const) {
    it(`reports ${what} as such`, async () => {
      const error = await rejection(read(Buffer.from(body), { 'content-type': type }));
      expect(error).to.be.instanceOf(UpstreamUnavailableError);
      const message = `manifest from registry.example: answer is ${named}, not a manifest`;
      expect(error).to.have.nested.property('cause.message', message);
    });
  }

  it('recognizes a page in gzip, too', async () => {
    const headers = { 'content-encoding': 'gzip', 'content-type': 'text/html' };
    expect(await rejection(read(gzipSync(page), headers))).to.be.instanceOf(UpstreamUnavailableError);
  });

  it('does not report a damaged or forged manifest as something else', async () => {
    const forged = encode({ schemaVersion: 2, mediaType: MANIFEST, config: null, layers: [] });
    const large = encode({ error: 'x'.repeat(1 << 20) });
    for (const bytes of [forged, forged.subarray(0, -1), large]) {
      for (const type of [MANIFEST, 'application/json; charset=utf-8', 'text/plain', 'not a type']) {
        expect(await read(bytes, { 'content-type': type })).to.deep.equal(Buffer.from(bytes));
      }
    }
  });
});
