import type { ServerResponse } from 'node:http';
import { BASIC, errorBody } from '../support/fake-registry.ts';
import { makeBlob, makePackage, type TestImage } from '../support/image.ts';
import { quirkBench } from '../support/quirk-bench.ts';

let nextSeed = 50_000;

/** A small package with a changed text of its manifest. */
function rewritten(change: (text: string) => string): TestImage {
  const image = makePackage(3000, nextSeed++);
  const text = change(Buffer.from(image.manifest.bytes).toString());
  const manifest = makeBlob(image.manifest.descriptor.mediaType, Buffer.from(text));
  return { ...image, manifest, digest: manifest.descriptor.digest };
}

const withManifest =
  (change: (manifest: Record<string, unknown>) => object) =>
  (text: string): string =>
    JSON.stringify(change(JSON.parse(text) as Record<string, unknown>));
const withLastLayer = (change: (layer: Record<string, unknown>) => object): ((text: string) => string) =>
  withManifest((manifest) => {
    const layers = manifest['layers'] as Record<string, unknown>[];
    return { ...manifest, layers: [...layers.slice(0, -1), ...layers.slice(-1).map(change)] };
  });

describe('the service before a registry that has documents of its own kind:', () => {
  const withRegistry = quirkBench();

  for (const [what, change] of [
    ['written with tabs', (text: string) => `${JSON.stringify(JSON.parse(text), null, '\t')}\n`],
    [
      'written with line ends of Windows',
      (text: string) => JSON.stringify(JSON.parse(text), null, 3).replaceAll('\n', '\r\n'),
    ],
    ['after a byte order mark', (text: string) => `\ufeff${text}`],
    ['with sizes written as 1e0', (text: string) => text.replace(/"size":(\d+)/g, '"size":$1e0')],
    ['without a type', withManifest((manifest) => ({ ...manifest, mediaType: undefined }))],
    ['of an unknown type', withManifest((manifest) => ({ ...manifest, mediaType: 'application/vnd.example+json' }))],
    [
      'of a type with parameters',
      withManifest((manifest) => ({ ...manifest, mediaType: `${String(manifest['mediaType'])}; charset=utf-8` })),
    ],
    ['without a config', withManifest((manifest) => ({ ...manifest, config: undefined }))],
    ['with a subject that cannot be read', withManifest((manifest) => ({ ...manifest, subject: { digest: 'none' } }))],
    ['with additional signatures', withManifest((manifest) => ({ ...manifest, signatures: [{ header: {} }] }))],
    ['whose layer has no type', withLastLayer((layer) => ({ ...layer, mediaType: undefined }))],
    ['whose layer has an empty type', withLastLayer((layer) => ({ ...layer, mediaType: '' }))],
    [
      'whose layer has a type with parameters',
      withLastLayer((layer) => ({ ...layer, mediaType: 'application/tar; x=y' })),
    ],
  ] as const) {
    it(
      `manifests ${what}`,
      withRegistry(async (bench) => {
        const image = rewritten(change);
        bench.registry.publish(image);
        await bench.expectPackage(image);
      }),
    );
  }

  for (const [what, data] of [
    ['its bytes in base64', (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')],
    [
      'its bytes in base64 without padding',
      (bytes: Uint8Array) => Buffer.from(bytes).toString('base64').replace(/=+$/, ''),
    ],
  ] as const) {
    it(
      `manifests whose layer has ${what} as its data, without a blob`,
      withRegistry(async (bench) => {
        const seed = nextSeed;
        const { layer } = makePackage(3000, seed);
        const image = rewritten(withLastLayer((entry) => ({ ...entry, data: data(layer.bytes) })));
        bench.registry.publish({ ...image, blobs: [] });
        await bench.expectPackage(image);
      }),
    );
  }

  for (const [what, data] of [
    ['other bytes', Buffer.from('other').toString('base64')],
    ['no base64', '!'],
    ['no text', 1],
    ['nothing', null],
  ] as const) {
    it(
      `manifests whose layer has ${what} as its data, and also a blob`,
      withRegistry(async (bench) => {
        const image = rewritten(withLastLayer((entry) => ({ ...entry, data })));
        bench.registry.publish(image);
        await bench.expectPackage(image);
      }),
    );
  }

  it(
    'a page without a type, which a firewall sends instead of a manifest',
    withRegistry(async (bench) => {
      const image = bench.publish();
      bench.answer(image.manifest, (response) => {
        response.end('<html>\n<head>\n<meta http-equiv="Content-Type" content="text/html; charset=gb2312">');
        return true;
      });
      await bench.expectRefusal(image.digest, 502, /answer is text\/html, not a manifest/);
    }),
  );
});

describe('the service before a registry that', () => {
  const withRegistry = quirkBench();
  const challenge = (response: ServerResponse, header: string): true => {
    response.writeHead(401, { 'www-authenticate': header }).end(errorBody('UNAUTHORIZED'));
    return true;
  };

  for (const header of [
    'Bearer realm="ORIGIN/token",service="s",',
    'Bearer realm="ORIGIN/token",,service="s"',
    'Bearer realm="ORIGIN/token",service=registry.example.com,scope=""',
    'Bearer realm="ORIGIN/token" service="s"',
    'Bearer realm="ORIGIN/token";service="s"',
    'Bearer  realm = "ORIGIN/token" , service = "s"',
    'Bearer realm=" ORIGIN/token "',
    'Bearer realm="ORIGIN/token",error="invalid_token",error_description="old, or \\"wrong\\""',
    'Digest realm="d", nonce="n", Bearer realm="ORIGIN/token"',
    'Bearer realm="ORIGIN/token?service=q&scope=x",scope="repository:other:pull"',
  ]) {
    it(
      `challenges by [${header}]`,
      withRegistry(
        async (bench) => {
          const image = bench.publish();
          bench.registry.script(({ url, headers }, response) =>
            url.startsWith('/token') || headers.authorization !== undefined
              ? false
              : challenge(response, header.replaceAll('ORIGIN', bench.registry.origin)),
          );
          await bench.expectPackage(image);
        },
        { auth: 'bearer' },
      ),
    );
  }

  for (const header of [
    'BASIC realm="Sonatype Nexus"',
    'Basic',
    'basic realm=x',
    'Basic realm=Registry Realm',
    'Basic realm=/',
    "Basic realm='Sandstorm API'",
    'Basic realm="x',
  ]) {
    it(
      `challenges by [${header}]`,
      withRegistry(
        async (bench) => {
          const image = bench.publish();
          bench.registry.script(({ headers }, response) =>
            headers.authorization === BASIC ? false : challenge(response, header),
          );
          await bench.expectPackage(image);
        },
        { auth: 'basic' },
      ),
    );
  }
});

describe('the service before a registry that, for tokens,', () => {
  const withRegistry = quirkBench();

  for (const [what, type, fields] of [
    ['labels its answer as text/plain', 'text/plain; charset=utf-8', {}],
    ['sends no type', undefined, {}],
    ['gives a token with an absurdly long lifetime', 'application/json', { expires_in: 1e300 }],
    ['gives a token with a negative lifetime', 'application/json', { expires_in: -5 }],
    ['has another clock', 'application/json', { issued_at: '2001-01-01T00:00:00Z', expires_in: 60 }],
    ['gives its lifetime as a text', 'application/json', { expires_in: '3600' }],
    ['gives the time in seconds', 'application/json', { issued_at: 1_457_510_670 }],
    ['sends null in addition to its token', 'application/json', { access_token: null, refresh_token: null }],
  ] as const) {
    it(
      `has a token server that ${what}`,
      withRegistry(
        async (bench) => {
          bench.registry.script(({ url }, response) => {
            if (!url.startsWith('/token')) return false;
            response.writeHead(200, type === undefined ? {} : { 'content-type': type });
            response.end(JSON.stringify({ token: 'canary-token-0', ...fields }));
            return true;
          });
          await bench.expectPackage(bench.publish());
        },
        { auth: 'bearer' },
      ),
    );
  }

  it(
    'has a token server that answers with a page',
    withRegistry(
      async (bench) => {
        bench.registry.script(({ url }, response) => {
          if (!url.startsWith('/token')) return false;
          response.writeHead(200, { 'content-type': 'text/html' }).end('<html><title>Sign in</title>');
          return true;
        });
        await bench.expectRefusal(bench.publish().digest, 502, /answer is text\/html, not a token/);
      },
      { auth: 'bearer' },
    ),
  );
});
