import { describeRegistryGateway } from '../contract/registry-gateway.ts';
import { describeWith, type Program } from '../support/peers/binaries.ts';
import { type PeerOptions, PeerRegistry } from '../support/peers/peer-registry.ts';
import { makeRegistryGateway } from '../support/registry-gateway.ts';

const variants: [program: Program, what: string, options: Partial<PeerOptions>][] = [
  ['docker-registry', 'over HTTP', {}],
  ['docker-registry', 'with a password', { basicAuth: true }],
  ['docker-registry', 'over HTTPS with a CA of its own', { tls: true }],
  ['docker-registry', 'over HTTPS with a password', { tls: true, basicAuth: true }],
  ['distribution-registry', 'over HTTP', {}],
  ['distribution-registry', 'over HTTPS with a password', { tls: true, basicAuth: true }],
  ['crane', 'over HTTP', {}],
  ['ocimem', 'over HTTP', {}],
];

for (const [program, what, options] of variants) {
  describeWith(program, (path) => {
    describeRegistryGateway(`OciRegistryGateway to ${program} ${what}`, async () => {
      const peer = await PeerRegistry.start({ program, path, ...options });
      return {
        gateway: makeRegistryGateway({ headersTimeoutMs: 10_000 }),
        upstream: peer.upstream(),
        publish: (image) => peer.publish(image),
        close: () => peer.close(),
      };
    });
  });
}
