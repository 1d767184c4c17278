import type { ServerResponse } from 'node:http';
import { FakeRegistry } from '../support/fake-registry.ts';
import { quirkBench } from '../support/quirk-bench.ts';

type Wire = string | Uint8Array;

/** An answer as bytes on the wire. SIZE in its head is the length of the content. */
function raw(head: string, frame: (content: Uint8Array) => readonly Wire[]) {
  return (response: ServerResponse, { bytes }: { bytes: Uint8Array }): boolean => {
    response.socket?.write(head.replaceAll('SIZE', String(bytes.byteLength)));
    for (const part of frame(bytes)) response.socket?.write(part);
    response.socket?.end();
    return true;
  };
}

const plain = (content: Uint8Array): Wire[] => [content];
/** All bytes in one packet, so a client reads the end of the content together with the bytes after it. */
const followed =
  (by: string) =>
  (content: Uint8Array): Wire[] => [Buffer.concat([content, Buffer.from(by)])];
const chunked =
  (padding = '') =>
  (content: Uint8Array): Wire[] => [
    `${content.byteLength.toString(16)}${padding}\r\n`,
    content,
    `\r\n0${padding}\r\n\r\n`,
  ];

const READ: readonly [what: string, head: string, frame: (content: Uint8Array) => readonly Wire[]][] = [
  [
    'a length in addition to chunks',
    'HTTP/1.1 200 OK\r\nContent-Length: SIZE\r\nTransfer-Encoding: chunked\r\n\r\n',
    chunked(),
  ],
  [
    'a wrong length in addition to chunks',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n',
    chunked(),
  ],
  ['identity as its coding', 'HTTP/1.1 200 OK\r\nContent-Length: SIZE\r\nTransfer-Encoding: identity\r\n\r\n', plain],
  [
    'identity as its coding, in HTTP/1.0',
    'HTTP/1.0 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: SIZE\r\n\r\n',
    plain,
  ],
  ['zeros before its length', 'HTTP/1.1 200 OK\r\nContent-Length: 00SIZE\r\n\r\n', plain],
  ['spaces behind its length', 'HTTP/1.1 200 OK\r\nContent-Length: SIZE  \r\n\r\n', plain],
  ['a byte behind its answer', 'HTTP/1.1 200 OK\r\nContent-Length: SIZE\r\n\r\n', followed('x')],
  ['a last chunk behind its answer', 'HTTP/1.1 200 OK\r\nContent-Length: SIZE\r\n\r\n', followed('0\r\n\r\n')],
  [
    'two last chunks',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
    (content) => [Buffer.concat([...chunked()(content), '0\r\n\r\n'].map((part) => Buffer.from(part)))],
  ],
  ['lines that end in LF', 'HTTP/1.1 200 OK\nContent-Length: SIZE\n\n', plain],
  ['one line that ends in LF', 'HTTP/1.1 200 OK\r\nX-Frame: a\nContent-Length: SIZE\r\n\r\n', plain],
  ['spaces after the size of chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', chunked('  ')],
  ['extensions of chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', chunked(';a=b')],
  [
    'a header over two lines',
    "HTTP/1.1 200 OK\r\nPolicy: default-src 'self';\r\n img-src x\r\nContent-Length: SIZE\r\n\r\n",
    plain,
  ],
  ['a control character in a header', 'HTTP/1.1 200 OK\r\nSet-Cookie: a=\x01b\r\nContent-Length: SIZE\r\n\r\n', plain],
  ['no reason for its status', 'HTTP/1.1 200\r\nContent-Length: SIZE\r\n\r\n', plain],
  ['an unknown version', 'HTTP/1.2 200 OK\r\nContent-Length: SIZE\r\n\r\n', plain],
  ['an empty line before it', '\r\nHTTP/1.1 200 OK\r\nContent-Length: SIZE\r\n\r\n', plain],
  [
    'an offer of HTTP/2',
    'HTTP/1.1 200 OK\r\nUpgrade: h2,h2c\r\nConnection: Upgrade\r\nContent-Length: SIZE\r\n\r\n',
    plain,
  ],
  [
    'an early hint',
    'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: SIZE\r\n\r\n',
    plain,
  ],
];

const REFUSED: readonly [what: string, head: string, cause: RegExp][] = [
  [
    'several lengths',
    'HTTP/1.1 200 OK\r\nContent-Length: SIZE\r\nContent-Length: SIZE\r\n\r\n',
    /answer has more than one length/,
  ],
  ['an invalid length', 'HTTP/1.1 200 OK\r\nContent-Length: +SIZE\r\n\r\n', /HPE_INVALID_CONTENT_LENGTH/],
  ['a header without a name', 'HTTP/1.1 200 OK\r\n: a\r\nContent-Length: SIZE\r\n\r\n', /HPE_INVALID_HEADER_TOKEN/],
  ['another protocol', 'ICY 200 OK\r\nContent-Length: SIZE\r\n\r\n', /HPE_INVALID_CONSTANT/],
];

describe('the service before a registry that frames its answers in its own way, as it', () => {
  const withRegistry = quirkBench();

  for (const [what, head, frame] of READ) {
    it(
      `sends ${what}`,
      withRegistry(async (bench) => {
        const image = bench.publish(raw(head, frame));
        bench.answer(image.manifest, raw(head, frame));
        await bench.expectPackage(image);
      }),
    );
  }

  for (const [what, head, cause] of REFUSED) {
    it(
      `sends ${what}, which the service refuses`,
      withRegistry(async (bench) => {
        const image = bench.publish();
        bench.answer(image.manifest, raw(head, plain));
        await bench.expectRefusal(image.digest, 502, cause);
      }),
    );
  }

  it(
    'sends a length in addition to chunks, and a forged answer after them, which answers no other request',
    withRegistry(async (bench) => {
      const forged = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged';
      const image = bench.publish();
      bench.answer(image.manifest, (response, { bytes }) => {
        const { socket } = response;
        socket?.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n');
        for (const part of [...chunked()(bytes), forged]) socket?.write(part);
        return true;
      });
      await bench.expectPackage(image);
    }),
  );
});

describe('the service before a registry that', () => {
  const withRegistry = quirkBench();
  let storage: FakeRegistry;
  beforeEach(async () => {
    storage = await FakeRegistry.start();
  });
  afterEach(() => storage.close());

  for (const [what, suffix, expected] of [
    ['a URL with a fragment', '/blob?a=b#part', '/blob?a=b'],
    ['a URL with blanks around it', '/blob \t', '/blob'],
    ['a signature with escapes', '/blob?sig=a%2Bb%2f%3D+c&X=%7E~&e=', '/blob?sig=a%2Bb%2f%3D+c&X=%7E~&e='],
    ['a path with escapes', '/a%2Fb%252F/c', '/a%2Fb%252F/c'],
    ['a path with empty segments', '//a//b', '//a//b'],
    ['a path with dots', '/a/../blob', '/blob'],
  ] as const) {
    it(
      `redirects to ${what}`,
      withRegistry(async (bench) => {
        const image = bench.publish((response) => {
          response.writeHead(307, { location: `${storage.origin}${suffix}` }).end();
          return true;
        });
        storage.script(({ url }, response) => {
          response.writeHead(url === expected ? 200 : 404).end(url === expected ? image.layer.bytes : '');
          return true;
        });
        await bench.expectPackage(image);
      }),
    );
  }
});
