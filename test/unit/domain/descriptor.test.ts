import { expect } from 'chai';
import { parseDescriptor } from '../../../src/domain/descriptor.ts';
import { digestOf } from '../../../src/domain/digest.ts';
import { bytesOf } from '../../support/image.ts';

describe('parseDescriptor', () => {
  for (const length of [0, 1, 2, 3, 1000]) {
    const bytes = Buffer.from(bytesOf(length));
    const descriptor = { mediaType: 'a/b', digest: digestOf(bytes), size: length };

    it(`takes the content of ${String(length)} bytes that it holds`, () => {
      const data = bytes.toString('base64');
      for (const written of [data, data.replaceAll('=', '')]) {
        expect(parseDescriptor({ ...descriptor, data: written })).to.deep.equal({ ...descriptor, data: bytes });
      }
    });

    it(`passes over other content than that of its digest, of ${String(length)} bytes`, () => {
      const other = Buffer.from(bytesOf(length + 1, 2)).toString('base64');
      const flipped = Buffer.from(bytes.map((byte) => byte ^ 1)).toString('base64');
      for (const data of [other, length === 0 ? other : flipped, null, 1, [], '!', 'AAAA'.repeat(1000)]) {
        if (data === '!' && length === 0) continue;
        expect(parseDescriptor({ ...descriptor, data }), String(data)).to.deep.equal(descriptor);
      }
    });
  }

  for (const mediaType of [undefined, null, '', 1, 'a'.repeat(256), 'a\r\nX: y', 'a/b; c=d']) {
    it(`takes content of the type ${JSON.stringify({ mediaType }).slice(0, 40)} for any bytes`, () => {
      const { digest, size } = { digest: digestOf(bytesOf(1)), size: 1 };
      expect(parseDescriptor({ mediaType, digest, size })).to.deep.equal({
        mediaType: 'application/octet-stream',
        digest,
        size,
      });
    });
  }
});
