/** The configurations of examples/balancer with the addresses and files of a test. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CA } from '../tls/certificates.ts';
import type { FrontKind, Place } from './front.ts';
import { nginxMain } from './reverse-proxies.ts';

const EXAMPLES = join(import.meta.dirname, '../../../examples/balancer');
/** The name in the certificate of the masters. */
const SERVICE = 'registry-packages-proxy.d8-cloud-instance-manager.svc';

/** `masters`: the ports of master-0 to master-2, on 127.0.0.1. */
export function balancers(masters: () => readonly number[]): readonly FrontKind[] {
  return [
    {
      name: 'nginx',
      programs: ['nginx'],
      configure: (place) => {
        const text = placed('nginx.conf', place, masters());
        return Promise.resolve({
          files: { 'nginx.conf': nginxMain(place.home, text), 'masters-ca.crt': CA },
          processes: [
            { program: 'nginx', args: ['-e', 'stderr', '-p', place.home, '-c', join(place.home, 'nginx.conf')] },
          ],
        });
      },
    },
    {
      name: 'HAProxy',
      programs: ['haproxy'],
      configure: (place) =>
        Promise.resolve({
          files: { 'haproxy.cfg': placed('haproxy.cfg', place, masters()), 'masters-ca.crt': CA },
          processes: [{ program: 'haproxy', args: ['-db', '-f', join(place.home, 'haproxy.cfg')] }],
        }),
    },
  ];
}

function placed(name: string, { home, port, cert, key, pem }: Place, masters: readonly number[]): string {
  const files: Readonly<Record<string, string>> = {
    'tls.crt': cert,
    'tls.key': key,
    'server.pem': pem,
    'masters-ca.crt': join(home, 'masters-ca.crt'),
  };
  return readFileSync(join(EXAMPLES, name), 'utf8')
    .replaceAll(/\/etc\/(?:nginx|haproxy)\/tls\/([\w.-]+)/g, (_path, file: string) => files[file] ?? file)
    .replaceAll(/master-(\d):4219/g, (_address, index: string) => `127.0.0.1:${String(masters[Number(index)])}`)
    .replace('bind :4219', `bind 127.0.0.1:${String(port)}`)
    .replace('listen 4219', `listen 127.0.0.1:${String(port)}`)
    .replaceAll(SERVICE, 'localhost');
}
