/** The ways in which a registry breaks the contract of RegistryGateway, as scripts of the fake registry. */
import type { ServerResponse } from 'node:http';
import { TLSSocket } from 'node:tls';
import type { Misbehaviour } from '../contract/registry-gateway.ts';
import { FakeRegistry, type FakeRegistryOptions } from './fake-registry.ts';
import type { TestImage } from './image.ts';

type Answer = (response: ServerResponse, image: TestImage) => void;

const half = ({ layer }: TestImage): Uint8Array => layer.bytes.subarray(0, layer.bytes.byteLength / 2);

/** A connection under TLS cannot be reset; its end in the middle of an answer breaks the protocol as well. */
function reset({ socket }: ServerResponse): void {
  if (socket instanceof TLSSocket) socket.destroy();
  else socket?.resetAndDestroy();
}

/** Each answers requests for the manifest and the layer in the same way. */
const ANSWERS: Readonly<Record<Misbehaviour, Answer>> = {
  'unbounded manifest': (response) => {
    response.writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' });
    const more = (): void => {
      if (!response.destroyed && response.write(' '.repeat(65_536))) setImmediate(more);
    };
    response.on('drain', more);
    more();
  },
  'short blob': (response, image) => {
    response.writeHead(200, { 'content-length': half(image).byteLength }).end(half(image));
  },
  'long blob': (response, { layer }) => {
    response.writeHead(200, { 'content-length': layer.bytes.byteLength + 1 });
    response.end(Buffer.concat([layer.bytes, Buffer.from('x')]));
  },
  stall: () => undefined,
  'stall in the middle': (response, image) => {
    response.writeHead(200, { 'content-length': image.layer.bytes.byteLength }).write(half(image));
  },
  reset,
  'reset in the middle': (response, image) => {
    response.writeHead(200, { 'content-length': image.layer.bytes.byteLength });
    response.write(half(image), () => {
      reset(response);
    });
  },
  'server error': (response) => {
    response.writeHead(500).end();
  },
  denial: (response) => {
    response.writeHead(401).end();
  },
};

/** The registry of a contract suite. */
export async function startMisbehavingRegistry(options: FakeRegistryOptions = {}): Promise<{
  readonly registry: FakeRegistry;
  readonly misbehave: Readonly<Record<Misbehaviour, (image: TestImage) => void>>;
}> {
  const registry = await FakeRegistry.start(options);
  const misbehave = Object.entries(ANSWERS).map(([how, answer]) => {
    const begin = (image: TestImage): void => {
      registry.script(({ url, headers }, response) => {
        const isContent = url.includes('/manifests/') || url.includes('/blobs/');
        if (!isContent || (registry.wantsAuthorization && headers.authorization === undefined)) return false;
        answer(response, image);
        return true;
      });
    };
    return [how, begin];
  });
  return { registry, misbehave: Object.fromEntries(misbehave) as Record<Misbehaviour, (image: TestImage) => void> };
}
