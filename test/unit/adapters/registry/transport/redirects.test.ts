import { expect } from 'chai';
import { Readable } from 'node:stream';
import type { HttpResponse } from '../../../../../src/adapters/registry/transport/http-message.ts';
import { isSameOrSafer, isSigned, redirectOf } from '../../../../../src/adapters/registry/transport/redirects.ts';
import { UpstreamUnavailableError } from '../../../../../src/domain/errors.ts';

const from = new URL('https://registry.example/v2/a/blobs/sha256:0');

function answer(status: number, location?: string): HttpResponse {
  const asked = { operation: 'blob', host: 'registry.example' } as const;
  const headers = location === undefined ? {} : { location };
  return { asked, status, headers, body: Readable.from([]) };
}

describe('redirectOf', () => {
  for (const [location, to] of [
    ['https://storage.example/x?y=%2F', 'https://storage.example/x?y=%2F'],
    ['/bucket/x', 'https://registry.example/bucket/x'],
    ['x', 'https://registry.example/v2/a/blobs/x'],
    ['//storage.example/x', 'https://storage.example/x'],
    ['?again', 'https://registry.example/v2/a/blobs/sha256:0?again'],
    [' HTTPS://Storage.Example:443/x ', 'https://storage.example/x'],
    [Buffer.from('/пакет').toString('latin1'), 'https://registry.example/%D0%BF%D0%B0%D0%BA%D0%B5%D1%82'],
  ] as const) {
    it(`leads to ${to} by ${JSON.stringify(location)}`, () => {
      expect(redirectOf(answer(307, location), from)?.href).to.equal(to);
    });
  }

  it('knows all redirects of GET, and no other status', () => {
    for (const status of [300, 301, 302, 303, 307, 308]) {
      expect(redirectOf(answer(status, '/x'), from), String(status)).not.to.equal(undefined);
    }
    for (const status of [200, 201, 304, 305, 306, 401, 503]) {
      expect(redirectOf(answer(status, '/x'), from), String(status)).to.equal(undefined);
    }
    expect(redirectOf(answer(307), from)).to.equal(undefined);
  });

  for (const location of [
    'http://registry.example/x',
    'http://',
    'ftp://a/',
    'javascript:alert(1)',
    'file:///etc/passwd',
  ]) {
    it(`refuses ${location} behind https`, () => {
      expect(() => redirectOf(answer(302, location), from)).to.throw(UpstreamUnavailableError);
    });
  }
});

describe('isSameOrSafer', () => {
  for (const [a, b, expected] of [
    ['https://a.example/', 'https://a.example:443/x', true],
    ['http://a.example:5000/', 'https://a.example/', true],
    ['http://a.example/', 'https://A.example:8443/', true],
    ['https://a.example/', 'https://a.example:8443/', false],
    ['http://a.example/', 'http://a.example:8080/', false],
    ['https://a.example/', 'http://a.example/', false],
    ['http://a.example/', 'https://b.a.example/', false],
    ['http://a.example/', 'https://a.example./', false],
  ] as const) {
    it(`is ${String(expected)} from ${a} to ${b}`, () => {
      expect(isSameOrSafer(new URL(a), new URL(b))).to.equal(expected);
    });
  }
});

describe('isSigned', () => {
  for (const [url, expected] of [
    ['https://s3.example/b?X-Amz-Algorithm=a&X-Amz-Signature=b', true],
    ['https://gcs.example/b?X-Goog-Signature=b', true],
    ['https://cf.example/b?Expires=1&Signature=b&Key-Pair-Id=c', true],
    ['https://blob.core.windows.net/b?sv=1&sig=b', true],
    ['https://a.example/v2/a/blobs/b?signature', false],
    ['https://a.example/v2/signature=b', false],
    ['https://a.example/v2/?design=b', false],
  ] as const) {
    it(`is ${String(expected)} for ${url}`, () => {
      expect(isSigned(new URL(url))).to.equal(expected);
    });
  }
});
