import { expect } from 'chai';
import type { ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { BASIC, errorBody, FakeRegistry, USERNAME } from '../support/fake-registry.ts';
import { bytesOf, encode, makeBlob, makeImage, makeIndex, makePackage, type TestImage } from '../support/image.ts';
import { type Answer, quirkBench } from '../support/quirk-bench.ts';

const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
const LINUX = { os: 'linux', architecture: 'amd64' };

describe('the service before a registry that', () => {
  const withRegistry = quirkBench();

  describe('describes its answers wrongly, as it', () => {
    for (const label of ['aws-chunked', 'x-gzip', 'gzip', 'identity', 'none', '', 'aws-chunked, gzip', 'UTF-8']) {
      it(
        `labels an unencoded layer as "${label}"`,
        withRegistry(async (bench) => {
          const image = bench.publish((response, { bytes }) => {
            response.writeHead(200, { 'content-encoding': label, 'content-length': bytes.byteLength }).end(bytes);
            return true;
          });
          await bench.expectPackage(image);
        }),
      );
    }

    it(
      'labels an unencoded manifest as gzip',
      withRegistry(async (bench) => {
        const image = bench.publish();
        bench.answer(image.manifest, (response, { bytes, descriptor: { mediaType } }) => {
          response.writeHead(200, { 'content-type': mediaType, 'content-encoding': 'x-gzip' }).end(bytes);
          return true;
        });
        await bench.expectPackage(image);
      }),
    );

    for (const type of ['text/plain', 'application/octet-stream', 'application/json; charset=utf-8', undefined]) {
      it(
        `labels a manifest as ${type ?? 'nothing'}`,
        withRegistry(async (bench) => {
          const image = bench.publish();
          bench.answer(image.manifest, (response, { bytes }) => {
            response.writeHead(200, type === undefined ? {} : { 'content-type': type }).end(bytes);
            return true;
          });
          await bench.expectPackage(image);
        }),
      );
    }

    it(
      'sends another Docker-Content-Digest, such as that of the manifest before a conversion',
      withRegistry(async (bench) => {
        const image = bench.publish();
        bench.answer(image.manifest, (response, { bytes }) => {
          response.writeHead(200, { 'docker-content-digest': makePackage(1, 9).digest, etag: '"x"' }).end(bytes);
          return true;
        });
        await bench.expectPackage(image);
      }),
    );

    it(
      'sends manifests and layers in chunks, without a length and with trailers',
      withRegistry(async (bench) => {
        const chunked = (response: ServerResponse, { bytes }: { bytes: Uint8Array }): boolean => {
          response.writeHead(200, { trailer: 'x-checksum' });
          response.write(bytes.subarray(0, 100));
          response.addTrailers({ 'x-checksum': 'abc' });
          response.end(bytes.subarray(100));
          return true;
        };
        const image = bench.publish(chunked);
        bench.answer(image.manifest, chunked);
        await bench.expectPackage(image);
      }),
    );

    it(
      'ends its answers by closing the connection, as HTTP/1.0 does',
      withRegistry(async (bench) => {
        const untilClose = (response: ServerResponse, { bytes }: { bytes: Uint8Array }): boolean => {
          response.socket?.write('HTTP/1.0 200 OK\r\n\r\n');
          response.socket?.end(bytes);
          return true;
        };
        const image = bench.publish(untilClose);
        bench.answer(image.manifest, untilClose);
        await bench.expectPackage(image);
      }),
    );

    it(
      'writes headers in UTF-8',
      withRegistry(async (bench) => {
        const image = bench.publish((response, { bytes }) => {
          const name = Buffer.from('paquet-é.tar').toString('latin1');
          response.writeHead(200, { 'content-disposition': `attachment; filename=${name}` }).end(bytes);
          return true;
        });
        await bench.expectPackage(image);
      }),
    );

    for (const status of [203, 206]) {
      it(
        `answers ${String(status)} to requests for all of a layer`,
        withRegistry(async (bench) => {
          const image = bench.publish((response, { bytes }) => {
            const range = `bytes 0-${String(bytes.byteLength - 1)}/${String(bytes.byteLength)}`;
            response.writeHead(status, { ...(status === 206 && { 'content-range': range }) }).end(bytes);
            return true;
          });
          await bench.expectPackage(image);
        }),
      );
    }

    it(
      'answers 203 to requests for a manifest',
      withRegistry(async (bench) => {
        const image = bench.publish();
        bench.answer(image.manifest, (response, { bytes, descriptor: { mediaType } }) => {
          response.writeHead(203, { 'content-type': mediaType }).end(bytes);
          return true;
        });
        await bench.expectPackage(image);
      }),
    );

    it(
      'sends 21 KB of headers',
      withRegistry(async (bench) => {
        const image = bench.publish((response, { bytes }) => {
          response.writeHead(200, { 'x-large': 'x'.repeat(21_000) }).end(bytes);
          return true;
        });
        await bench.expectPackage(image);
      }),
    );

    it(
      'sets cookies, which the service does not send back',
      withRegistry(async (bench) => {
        const image = bench.publish((response, { bytes }) => {
          response.writeHead(200, { 'set-cookie': 'AWSELB=canary; PATH=/' }).end(bytes);
          return true;
        });
        bench.answer(image.manifest, (response, { bytes, descriptor: { mediaType } }) => {
          response.writeHead(200, { 'set-cookie': 'sid=canary', 'content-type': mediaType }).end(bytes);
          return true;
        });
        await bench.expectPackage(image);
        expect(bench.registry.log.filter(({ headers }) => headers.cookie !== undefined)).to.deep.equal([]);
      }),
    );

    it(
      'answers HEAD with 401 or 403, but never gets a HEAD',
      withRegistry(async (bench) => {
        bench.registry.script(({ method }, response) => {
          if (method !== 'HEAD') return false;
          response.writeHead(403).end();
          return true;
        });
        await bench.expectPackage(bench.publish());
      }),
    );
  });

  describe('has a cache in front of it that', () => {
    it(
      'sends the gzip variant of a manifest from the request of another client',
      withRegistry(async (bench) => {
        const image = bench.publish();
        bench.answer(image.manifest, (response, { bytes, descriptor: { mediaType } }) => {
          response.writeHead(200, { 'content-type': mediaType, 'content-encoding': 'gzip' }).end(gzipSync(bytes));
          return true;
        });
        await bench.expectPackage(image);
      }),
    );

    it(
      'sends the gzip variant of a layer from the request of another client',
      withRegistry(async (bench) => {
        const image = bench.publish(
          (response, { bytes }) => {
            response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(bytes));
            return true;
          },
          makeImage([Buffer.alloc(300_000, 'text')]),
        );
        await bench.expectPackage(image);
      }),
    );

    it(
      'sends the gzip variant of a layer from the request of another client, and breaks off in the middle',
      withRegistry(async (bench) => {
        const encoded = gzipSync(bytesOf(3_000_000, 5));
        let broken = false;
        const image = bench.publish(
          (response, _blob, { headers }) => {
            const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '') ?? [];
            const start = Number(first ?? 0);
            const end = last === undefined || last === '' ? encoded.byteLength : Number(last) + 1;
            const part = encoded.subarray(start, end);
            const range = `bytes ${String(start)}-${String(start + part.byteLength - 1)}/${String(encoded.byteLength)}`;
            response.writeHead(first === undefined ? 200 : 206, {
              'content-encoding': 'gzip',
              'content-length': part.byteLength,
              ...(first !== undefined && { 'content-range': range }),
            });
            if (broken) {
              response.end(part);
              return true;
            }
            broken = true;
            response.write(part.subarray(0, 1_000_000), () => response.destroy());
            return true;
          },
          makeImage([bytesOf(3_000_000, 5)]),
        );
        await bench.expectPackage(image);
      }),
    );

    it(
      'sends a gzip bomb instead of a manifest',
      withRegistry(async (bench) => {
        const image = bench.publish();
        bench.answer(image.manifest, (response, { descriptor: { mediaType } }) => {
          const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
          response.writeHead(200, { 'content-type': mediaType, 'content-encoding': 'gzip' }).end(bomb);
          return true;
        });
        await bench.expectRefusal(image.digest, 502, /./);
      }),
    );

    it(
      'keeps a redirect whose signature has expired, until it gets a second request',
      withRegistry(async (bench) => {
        let asked = 0;
        const image = bench.publish((response) => {
          const location = asked++ === 0 ? '/storage/expired' : '/storage/good';
          response.writeHead(302, { location, 'content-type': 'text/html' }).end('<html>');
          return true;
        });
        bench.registry.script(({ url }, response) => {
          if (!url.startsWith('/storage/')) return false;
          if (url.endsWith('expired')) response.writeHead(403).end('<Error><Code>AccessDenied</Code></Error>');
          else response.end(image.layer.bytes);
          return true;
        });
        await bench.expectPackage(image);
      }),
    );
  });

  describe('keeps its blobs in a storage that', () => {
    let storage: FakeRegistry;
    beforeEach(async () => {
      storage = await FakeRegistry.start();
    });
    afterEach(() => storage.close());

    const toStorage =
      (status = 307) =>
      (response: ServerResponse): boolean => {
        response.writeHead(status, { location: `${storage.origin}/bucket/data?X-Amz-Signature=s` }).end();
        return true;
      };

    for (const [name, code] of [
      ['S3', 'InvalidArgument: Only one auth mechanism allowed'],
      ['Azure', 'InvalidAuthenticationInfo'],
    ] as const) {
      it(
        `refuses a second authorization (${name})`,
        withRegistry(
          async (bench) => {
            const image = bench.publish((response, _blob, request) =>
              request.headers.authorization === undefined ? false : toStorage()(response),
            );
            storage.script(({ headers }, response) => {
              if (headers.authorization === undefined) response.end(image.layer.bytes);
              else response.writeHead(400).end(code);
              return true;
            });
            await bench.expectPackage(image);
          },
          { auth: 'basic' },
        ),
      );
    }

    for (const status of [301, 302, 303, 307, 308]) {
      it(
        `is reached by a redirect with status ${String(status)}`,
        withRegistry(async (bench) => {
          const image = bench.publish(toStorage(status));
          storage.script((_request, response) => {
            response.end(image.layer.bytes);
            return true;
          });
          await bench.expectPackage(image);
        }),
      );
    }

    it(
      'stores manifests, too',
      withRegistry(async (bench) => {
        const image = bench.publish();
        bench.answer(image.manifest, toStorage());
        storage.script((_request, response) => {
          response.end(image.manifest.bytes);
          return true;
        });
        await bench.expectPackage(image);
      }),
    );

    it(
      'requires its own token, without a password',
      withRegistry(async (bench) => {
        const other = await FakeRegistry.start({ auth: 'bearer' });
        try {
          const image = bench.publish();
          other.publish(image);
          bench.answer(image.layer, (response, { descriptor: { digest } }) => {
            response.writeHead(307, { location: `${other.origin}/v2/deckhouse/ee/blobs/${digest}` }).end();
            return true;
          });
          await bench.expectPackage(image);
          expect(other.log.filter(({ headers }) => headers.authorization === BASIC)).to.deep.equal([]);
        } finally {
          await other.close();
        }
      }),
    );

    it(
      'does not support ranges, after a download has broken off',
      withRegistry(async (bench) => {
        const image = bench.publish(toStorage());
        let asked = 0;
        storage.script((_request, response) => {
          const { bytes } = image.layer;
          response.writeHead(200, { 'content-length': bytes.byteLength });
          if (asked++ === 0) response.write(bytes.subarray(0, 200_000), () => response.destroy());
          else response.end(bytes);
          return true;
        });
        await bench.expectPackage(image);
      }),
    );

    it(
      'sends every byte twice',
      withRegistry(async (bench) => {
        const image = bench.publish(toStorage());
        storage.script((_request, response) => {
          response.end(Buffer.concat([image.layer.bytes, image.layer.bytes]));
          return true;
        });
        await bench.expectRefusal(image.digest, 502, /./);
      }),
    );

    for (const [what, path] of [
      ['12 KB', `/bucket/${'x'.repeat(12_000)}`],
      ['letters that are not encoded', '/bucket/paquet-é'],
      ['spaces and brackets', '/bucket/a b [c]'],
    ] as const) {
      it(
        `is named by a URL of ${what}`,
        withRegistry(async (bench) => {
          const image = bench.publish((response) => {
            const location = Buffer.from(`${storage.origin}${path}`).toString('latin1');
            response.writeHead(307, { location }).end();
            return true;
          });
          storage.script(({ url }, response) => {
            if (decodeURIComponent(url) === path) response.end(image.layer.bytes);
            else response.writeHead(404).end();
            return true;
          });
          await bench.expectPackage(image);
        }),
      );
    }

    it(
      'no longer accepts its URL in the middle of a layer',
      withRegistry(async (bench) => {
        let signed = 0;
        const image = bench.publish(
          (response) => {
            response.writeHead(307, { location: `${storage.origin}/bucket?signature=${String(++signed)}` }).end();
            return true;
          },
          makePackage(3_000_000, 700),
        );
        storage.script(({ url, headers }, response) => {
          const { bytes } = image.layer;
          const [, first = '0'] = /^bytes=(\d+)-/.exec(headers.range ?? '') ?? [];
          if (first === '0') {
            response.writeHead(200, { 'content-length': bytes.byteLength });
            response.write(bytes.subarray(0, 1_000_000), () => response.destroy());
          } else if (!url.endsWith('3')) response.writeHead(403).end('<Error><Code>AccessDenied</Code></Error>');
          else {
            const range = `bytes ${first}-${String(bytes.byteLength - 1)}/${String(bytes.byteLength)}`;
            response.writeHead(206, { 'content-range': range }).end(bytes.subarray(Number(first)));
          }
          return true;
        });
        await bench.expectPackage(image);
      }),
    );

    it(
      'is the target of a redirect to a path, or to a URL without a scheme',
      withRegistry(async (bench) => {
        const image = bench.publish((response) => {
          response.writeHead(302, { location: '../../storage/a' }).end();
          return true;
        });
        bench.registry.script(({ url }, response) => {
          if (!url.includes('/storage/')) return false;
          if (url.endsWith('b')) response.end(image.layer.bytes);
          else response.writeHead(302, { location: `//${bench.registry.host}/storage/b` }).end();
          return true;
        });
        await bench.expectPackage(image);
      }),
    );
  });

  describe('serves parts of layers in its own way, as it', () => {
    const MIB = 1024 * 1024;

    /** The first answer ends after a third of the layer; what comes after that is up to `resume`. */
    const broken = (
      resume: (response: ServerResponse, bytes: Uint8Array, first: number, last: number) => void,
    ): Answer => {
      let asked = 0;
      return (response, { bytes }, { headers: { range } }) => {
        const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? [];
        if (asked++ === 0) {
          response.writeHead(200, { 'content-length': bytes.byteLength });
          response.write(bytes.subarray(0, MIB), () => response.destroy());
        } else if (first === undefined) response.end(bytes);
        else resume(response, bytes, Number(first), last === '' ? bytes.byteLength - 1 : Number(last));
        return true;
      };
    };
    const part = (bytes: Uint8Array, first: number, last: number) => ({
      headers: {
        'content-range': `bytes ${String(first)}-${String(last)}/${String(bytes.byteLength)}`,
        'content-length': last + 1 - first,
      },
      body: bytes.subarray(first, last + 1),
    });

    for (const status of [400, 405, 416, 501]) {
      it(
        `answers ${String(status)} to a range`,
        withRegistry(async (bench) => {
          const image = makePackage(3 * MIB, status);
          bench.publish(
            broken((response) => {
              response.writeHead(status, { 'content-range': `bytes */${String(3 * MIB)}` }).end();
            }),
            image,
          );
          await bench.expectPackage(image);
        }),
      );
    }

    it(
      'supports only ranges with an end, and sends no Accept-Ranges',
      withRegistry(async (bench) => {
        const image = makePackage(3 * MIB, 1);
        const answer = broken((response, bytes, first, last) => {
          const { headers, body } = part(bytes, first, last);
          response.writeHead(206, headers).end(body);
        });
        bench.publish((response, blob, request) => {
          const { range } = request.headers;
          if (range === undefined || /^bytes=\d+-\d+$/.test(range)) return answer(response, blob, request);
          response.writeHead(416).end();
          return true;
        }, image);
        await bench.expectPackage(image);
      }),
    );

    it(
      'sends only 64 KiB of a range',
      withRegistry(async (bench) => {
        const image = makePackage(2 * MIB, 2);
        bench.publish(
          broken((response, bytes, first, last) => {
            const { headers, body } = part(bytes, first, Math.min(last, first + 65_535));
            response.writeHead(206, headers).end(body);
          }),
          image,
        );
        await bench.expectPackage(image);
      }),
    );

    it(
      'answers 206 with the whole layer',
      withRegistry(async (bench) => {
        const image = makePackage(2 * MIB, 3);
        bench.publish(
          broken((response, bytes) => {
            const { headers, body } = part(bytes, 0, bytes.byteLength - 1);
            response.writeHead(206, headers).end(body);
          }),
          image,
        );
        await bench.expectPackage(image);
      }),
    );

    it(
      'stalls in the middle of a layer',
      withRegistry(async (bench) => {
        const image = makePackage(3 * MIB, 10);
        let asked = 0;
        bench.publish((response, { bytes }) => {
          if (asked++ > 0) return false;
          response.writeHead(200, { 'content-length': bytes.byteLength }).write(bytes.subarray(0, MIB));
          return true;
        }, image);
        await bench.expectPackage(image);
      }),
    );

    it(
      'closes the connection in the middle of a layer without a length',
      withRegistry(async (bench) => {
        const image = makePackage(3 * MIB, 4);
        let asked = 0;
        bench.publish((response, { bytes }) => {
          if (asked++ > 0) return false;
          response.writeHead(200);
          response.end(bytes.subarray(0, MIB));
          return true;
        }, image);
        await bench.expectPackage(image);
      }),
    );
  });

  describe('asks for credentials in its own way, as it', () => {
    const challenge = (response: ServerResponse, header: string): true => {
      response.writeHead(401, { 'www-authenticate': header }).end(errorBody('UNAUTHORIZED'));
      return true;
    };

    for (const [what, header] of [
      ['no scope', (origin: string) => `Bearer realm="${origin}/token",service="s"`],
      ['no service', (origin: string) => `Bearer realm="${origin}/token",scope="repository:deckhouse/ee:pull"`],
      ['the scope *', (origin: string) => `Bearer realm="${origin}/token",service="container_registry",scope="*"`],
      ['an unquoted realm', (origin: string) => `Bearer realm=${origin}/token`],
      ['a realm that is a path', () => 'Bearer realm="/token",service="s"'],
      ['a realm with a query', (origin: string) => `Bearer realm="${origin}/token?a=b",service="s"`],
      ['bearer in lower case', (origin: string) => `bearer Realm="${origin}/token", Service="s"`],
      ['Negotiate and NTLM besides', (origin: string) => `Negotiate, NTLM, Bearer realm="${origin}/token",service="s"`],
    ] as const) {
      it(
        `names ${what} in its challenge`,
        withRegistry(
          async (bench) => {
            const image = bench.publish();
            bench.registry.script(({ url, headers }, response) =>
              url.startsWith('/token') || headers.authorization !== undefined
                ? false
                : challenge(response, header(bench.registry.origin)),
            );
            await bench.expectPackage(image);
          },
          { auth: 'bearer' },
        ),
      );
    }

    it(
      'names a realm with two ports',
      withRegistry(
        async (bench) => {
          const image = bench.publish();
          bench.registry.script((_request, response) =>
            challenge(response, 'Bearer realm="https://nexus.example.com:5002:5002/v2/token",service="s"'),
          );
          await bench.expectRefusal(image.digest, 502, /realm/);
        },
        { auth: 'bearer' },
      ),
    );

    it(
      'names a realm whose host is known only in its own network',
      withRegistry(
        async (bench) => {
          const image = bench.publish();
          bench.registry.script((_request, response) =>
            challenge(response, 'Bearer realm="http://nodeport.invalid:30000/token",service="s"'),
          );
          await bench.expectRefusal(image.digest, 502, /nodeport\.invalid/);
        },
        { auth: 'bearer' },
      ),
    );

    it(
      'requires the password for requests to its token server, which does not support POST',
      withRegistry(
        async (bench) => {
          bench.registry.script(({ url, method }, response) => {
            if (!url.startsWith('/token') || method !== 'POST') return false;
            response.writeHead(405).end();
            return true;
          });
          await bench.expectPackage(bench.publish());
        },
        { auth: 'bearer' },
      ),
    );

    it(
      'requires its service in the query of the token request',
      withRegistry(
        async (bench) => {
          bench.registry.script(({ url }, response) => {
            if (!url.startsWith('/token') || url.includes('service=')) return false;
            response.writeHead(400).end();
            return true;
          });
          await bench.expectPackage(bench.publish());
        },
        { auth: 'bearer' },
      ),
    );

    for (const [what, write] of [
      ['a trailing newline', (token: string) => ({ token: `${token}\n` })],
      ['an access_token only', (token: string) => ({ access_token: token })],
      ['an empty token beside an access_token', (token: string) => ({ token: '', access_token: token })],
      ['a lifetime of 0 s', (token: string) => ({ token, expires_in: 0 })],
      ['no lifetime', (token: string) => ({ token })],
      ['a lifetime in a text', (token: string) => ({ token, expires_in: '300' })],
    ] as const) {
      it(
        `sends a token with ${what}`,
        withRegistry(
          async (bench) => {
            bench.registry.script(({ url }, response) => {
              if (!url.startsWith('/token')) return false;
              response.end(JSON.stringify(write('canary-token-0')));
              return true;
            });
            await bench.expectPackage(bench.publish());
          },
          { auth: 'bearer' },
        ),
      );
    }

    it(
      'redirects token requests to the same path with a slash',
      withRegistry(
        async (bench) => {
          bench.registry.script(({ url }, response) => {
            if (!url.startsWith('/token?')) return false;
            response.writeHead(301, { location: url.replace('/token?', '/token/?') }).end();
            return true;
          });
          await bench.expectPackage(bench.publish());
        },
        { auth: 'bearer' },
      ),
    );

    it(
      'revokes its token in the middle of a layer',
      withRegistry(
        async (bench) => {
          let asked = 0;
          const image = bench.publish(
            (response, { bytes }, { headers }) => {
              if (headers.authorization === undefined || asked++ > 0) return false;
              response.writeHead(200, { 'content-length': bytes.byteLength });
              response.write(bytes.subarray(0, 1_000_000), () => {
                bench.registry.revokeTokens();
                response.destroy();
              });
              return true;
            },
            makePackage(3_000_000, 701),
          );
          await bench.expectPackage(image);
        },
        { auth: 'bearer' },
      ),
    );

    it(
      'asks for a password where it refuses a token, as Harbor does, and takes none',
      withRegistry(
        async (bench) => {
          const refused = new Set<string | undefined>([BASIC]);
          bench.registry.script(
            ({ url, headers: { authorization } }, response) =>
              !url.startsWith('/token') && refused.has(authorization) && challenge(response, 'Basic realm="harbor"'),
          );
          await bench.expectPackage(bench.publish());
          for (const { headers } of bench.registry.requests('/blobs/')) refused.add(headers.authorization);
          bench.registry.revokeTokens();
          await bench.expectPackage(bench.publish());
        },
        { auth: 'bearer' },
      ),
    );

    it(
      'sends a token with status 201',
      withRegistry(
        async (bench) => {
          bench.registry.script(({ url }, response) => {
            if (!url.startsWith('/token')) return false;
            response.writeHead(201).end('{"token":"canary-token-0"}');
            return true;
          });
          await bench.expectPackage(bench.publish());
        },
        { auth: 'bearer' },
      ),
    );

    it(
      'requires a password of 3 KB, as ECR does',
      withRegistry(
        async (bench) => {
          const long = `Basic ${Buffer.from(`${USERNAME}:canary-${'x'.repeat(3000)}`).toString('base64')}`;
          const image = bench.publish();
          bench.registry.script(({ headers }, response) =>
            headers.authorization === long
              ? false
              : challenge(response, 'Basic realm="ecr",service="ecr.amazonaws.com"'),
          );
          await bench.expectPackage(image);
        },
        { password: `canary-${'x'.repeat(3000)}` },
      ),
    );

    it(
      'offers Basic, and Bearer with a foreign realm',
      withRegistry(
        async (bench) => {
          const image = bench.publish();
          bench.registry.script(({ headers }, response) =>
            headers.authorization === BASIC
              ? false
              : challenge(response, 'Bearer realm="https://tokens.invalid/token",service="s", Basic realm="r"'),
          );
          await bench.expectPackage(image);
        },
        { auth: 'basic' },
      ),
    );

    for (const status of [404, 403, 400]) {
      it(
        `hides its content with ${String(status)}, and sends a challenge only at /v2/`,
        withRegistry(
          async (bench) => {
            const image = bench.publish();
            bench.registry.script(({ url, headers }, response) => {
              if (headers.authorization === BASIC) return false;
              if (url === '/v2/') return challenge(response, 'Basic realm="r"');
              response.writeHead(status).end(errorBody('NAME_UNKNOWN'));
              return true;
            });
            await bench.expectPackage(image);
          },
          { auth: 'basic' },
        ),
      );
    }

    it(
      'answers 401 without a challenge',
      withRegistry(
        async (bench) => {
          const image = bench.publish();
          bench.registry.script((_request, response) => {
            response.writeHead(401).end();
            return true;
          });
          await bench.expectRefusal(image.digest, 502, /./);
        },
        { auth: 'basic' },
      ),
    );

    it(
      'denies a token',
      withRegistry(
        async (bench) => {
          const image = bench.publish();
          bench.registry.script(({ url }, response) => {
            if (!url.startsWith('/token')) return false;
            response.writeHead(403).end(errorBody('DENIED'));
            return true;
          });
          await bench.expectRefusal(image.digest, 502, /403/);
        },
        { auth: 'bearer' },
      ),
    );
  });

  describe('fails for a moment, as it', () => {
    for (const status of [408, 425, 429, 499, 500, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 527, 530]) {
      it(
        `answers ${String(status)} once`,
        withRegistry(async (bench) => {
          let asked = 0;
          const image = bench.publish((response) => {
            if (asked++ > 0) return false;
            response.writeHead(status, { 'content-type': 'text/html' }).end('<html>error code</html>');
            return true;
          });
          await bench.expectPackage(image);
        }),
      );
    }

    it(
      'answers 429 with a fraction as Retry-After',
      withRegistry(async (bench) => {
        let asked = 0;
        const image = bench.publish((response) => {
          if (asked++ > 0) return false;
          response.writeHead(429, { 'retry-after': '0.439' }).end();
          return true;
        });
        await bench.expectPackage(image);
      }),
    );

    it(
      'closes a connection instead of answering',
      withRegistry(async (bench) => {
        let asked = 0;
        const image = bench.publish((response) => {
          if (asked++ > 0) return false;
          response.destroy();
          return true;
        });
        await bench.expectPackage(image);
      }),
    );

    it(
      'answers a token request with 502 once',
      withRegistry(
        async (bench) => {
          bench.registry.failTimes('/token', { status: 502 });
          await bench.expectPackage(bench.publish());
        },
        { auth: 'bearer' },
      ),
    );
  });

  describe('has documents of its own kind:', () => {
    const publishIndex = (bench: { registry: FakeRegistry }, image: TestImage, index: object): { digest: string } => {
      const blob = makeBlob(OCI_INDEX, encode(index));
      bench.registry.publish({ digest: blob.descriptor.digest, index: blob, images: [image] });
      return { digest: blob.descriptor.digest };
    };

    it(
      'an index whose entry names no platform',
      withRegistry(async (bench) => {
        const image = makePackage(1000, 1);
        const index = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [image.manifest.descriptor] };
        await bench.expectPackage(image, publishIndex(bench, image, index).digest);
      }),
    );

    for (const [what, change] of [
      ['says x86_64', { platform: { os: 'linux', architecture: 'x86_64' } }],
      ['says Linux and AMD64', { platform: { os: 'Linux', architecture: 'AMD64' } }],
      [
        'has a type with parameters',
        { platform: LINUX, mediaType: 'application/vnd.oci.image.manifest.v1+json; charset=utf-8' },
      ],
    ] as const) {
      it(
        `an index whose entry ${what}`,
        withRegistry(async (bench) => {
          const image = makePackage(1000, 20 + what.length);
          const other = { ...makePackage(1000, 1).manifest.descriptor, platform: { ...LINUX, architecture: 'arm64' } };
          const entry = { ...image.manifest.descriptor, ...change };
          const index = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [other, entry] };
          await bench.expectPackage(image, publishIndex(bench, image, index).digest);
        }),
      );
    }

    it(
      'an index within an index',
      withRegistry(async (bench) => {
        const image = makePackage(1000, 2);
        const inner = makeIndex([{ image, platform: LINUX }]);
        bench.registry.publish(inner);
        const outer = {
          schemaVersion: 2,
          mediaType: OCI_INDEX,
          manifests: [{ ...inner.index.descriptor, platform: LINUX }],
        };
        await bench.expectPackage(image, publishIndex(bench, image, outer).digest);
      }),
    );

    it(
      'two images for one platform, of which the service uses the first',
      withRegistry(async (bench) => {
        const images = [makePackage(1000, 3), makePackage(1000, 4)];
        const index = makeIndex(images.map((image) => ({ image, platform: LINUX })));
        bench.registry.publish(index);
        await bench.expectPackage(images[0] ?? makePackage(1), index.digest);
      }),
    );

    it(
      'an attestation before the image',
      withRegistry(async (bench) => {
        const [image, attestation] = [makePackage(1000, 5), makePackage(1000, 6)];
        bench.registry.publish(attestation);
        const index = {
          schemaVersion: 2,
          mediaType: OCI_INDEX,
          manifests: [
            {
              ...attestation.manifest.descriptor,
              annotations: { 'vnd.docker.reference.type': 'attestation-manifest' },
              platform: { os: 'unknown', architecture: 'unknown' },
            },
            { ...image.manifest.descriptor, platform: LINUX },
          ],
        };
        await bench.expectPackage(image, publishIndex(bench, image, index).digest);
      }),
    );

    it(
      'an index with entries that the service cannot read',
      withRegistry(async (bench) => {
        const image = makePackage(1000, 7);
        const index = {
          schemaVersion: 2,
          manifests: [
            null,
            { digest: `sha512:${'0'.repeat(128)}`, size: 1, platform: LINUX },
            { mediaType: 'application/vnd.example+json', size: 3, digest: makePackage(1, 8).digest },
            { ...image.manifest.descriptor, platform: LINUX },
          ],
        };
        await bench.expectPackage(image, publishIndex(bench, image, index).digest);
      }),
    );

    it(
      'a layer with a foreign URL',
      withRegistry(async (bench) => {
        const stranger = await FakeRegistry.start();
        try {
          const plain = makePackage(1000, 11);
          const document = JSON.parse(Buffer.from(plain.manifest.bytes).toString()) as { layers: object[] };
          document.layers = document.layers.map((entry) => ({ ...entry, urls: [`${stranger.origin}/layer`] }));
          const manifest = makeBlob(plain.manifest.descriptor.mediaType, encode(document));
          const image = { ...plain, manifest, digest: manifest.descriptor.digest };
          bench.registry.publish(image);
          await bench.expectPackage(image);
          expect(stranger.log).to.deep.equal([]);
        } finally {
          await stranger.close();
        }
      }),
    );

    it(
      'a login page instead of a manifest',
      withRegistry(async (bench) => {
        const image = bench.publish();
        bench.answer(image.manifest, (response) => {
          response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>Sign in</title>');
          return true;
        });
        await bench.expectRefusal(image.digest, 502, /text\/html, not a manifest/);
      }),
    );

    it(
      'a manifest of schema 1',
      withRegistry(async (bench) => {
        const image = bench.publish();
        bench.answer(image.manifest, (response) => {
          const type = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
          response.writeHead(200, { 'content-type': type }).end('{"schemaVersion":1,"name":"ee"}');
          return true;
        });
        await bench.expectRefusal(image.digest, 502, /schema ?1|v1\+prettyjws|not a manifest/);
      }),
    );
  });
});
