import { expect } from 'chai';
import { parseEndpoint, S3Location } from '../../../../src/adapters/s3/s3-location.ts';
import { digestOf } from '../../../../src/domain/descriptor.ts';

const DIGEST = digestOf(Buffer.from('x'));
const KEY = `blobs/sha256/${DIGEST.slice(7)}`;

function locate(
  endpoint: string,
  options: { readonly pathStyle?: boolean; readonly prefix?: string } = {},
): S3Location {
  const given = { name: 'packages', region: 'eu', prefix: '', pathStyle: true, ca: [], ...options };
  return new S3Location({ ...given, endpoint: new URL(endpoint) });
}

describe('S3Location', () => {
  it('puts the bucket into the path or the host name, after the path of the server', () => {
    const cases: [S3Location, string, string][] = [
      [locate('https://s3.example'), `https://s3.example/packages/${KEY}`, 's3.example'],
      [locate('http://10.0.0.1:9000/'), `http://10.0.0.1:9000/packages/${KEY}`, '10.0.0.1:9000'],
      [locate('https://a.example/storage/v1'), `https://a.example/storage/v1/packages/${KEY}`, 'a.example'],
      [
        locate('https://s3.eu.example:8443', { pathStyle: false }),
        `https://packages.s3.eu.example:8443/${KEY}`,
        'packages.s3.eu.example:8443',
      ],
      [locate('https://s3.example', { prefix: 'a/b.c/' }), `https://s3.example/packages/a/b.c/${KEY}`, 's3.example'],
    ];
    for (const [location, url, host] of cases) {
      expect(location.objectOf(DIGEST).href).to.equal(url);
      expect(location.server.host).to.equal(host);
    }
  });
});

describe('parseEndpoint', () => {
  it('accepts only http and https URLs of a server, without an account', () => {
    for (const text of ['https://s3.example', 'http://[::1]:9000', 'https://s3.example/path']) {
      expect(parseEndpoint(text)?.href).to.be.a('string');
    }
    for (const text of ['s3.example', 's3://packages', 'https://', 'https://a:b@s3.example', 'https://s3.example/?a']) {
      expect(parseEndpoint(text), text).to.equal(undefined);
    }
  });
});
