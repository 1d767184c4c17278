/** The part of a Kubernetes API that the service watches, with a chosen number of ModuleSources. */
import type { ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { CA, serverCertificate } from '../../test/support/tls/certificates.ts';

export interface KubernetesLists {
  /** The content of a kubeconfig. */
  readonly kubeconfig: string;
  /** Ends all watches and serves a list of about this size from now on; returns the number of its objects. */
  grow(bytes: number): number;
  close(): void;
}

/** Resources without objects, with the kinds of their lists. */
const EMPTY = { secrets: 'SecretList', configmaps: 'ConfigMapList', packagerepositories: 'PackageRepositoryList' };
/** The size of the certificates in a ModuleSource. */
const CA_BYTES = 60 * 1024;

export async function startKubernetesLists(): Promise<KubernetesLists> {
  const watches = new Set<ServerResponse>();
  let version = 1;
  let sources = listOf('ModuleSourceList', 1, []);
  const server = createServer(serverCertificate('localhost'), (request, response) => {
    response.setHeader('Content-Type', 'application/json');
    const url = request.url ?? '';
    // A watch from an old resource version gets 410, so the client lists again.
    if (
      url.includes('watch=') &&
      url.includes('modulesources') &&
      !url.includes(`resourceVersion=${String(version)}&`)
    ) {
      response.destroy();
    } else if (url.includes('watch=')) {
      watches.add(response);
      response.once('close', () => watches.delete(response));
      response.flushHeaders();
    } else {
      const [, kind] = Object.entries(EMPTY).find(([plural]) => url.includes(`/${plural}`)) ?? [];
      response.end(kind === undefined ? sources : listOf(kind, 1, []));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const kubeconfig = JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'bench',
        cluster: {
          server: `https://127.0.0.1:${String(port)}`,
          'certificate-authority-data': Buffer.from(CA).toString('base64'),
        },
      },
    ],
    users: [{ name: 'bench', user: { token: 'bench' } }],
    contexts: [{ name: 'bench', context: { cluster: 'bench', user: 'bench' } }],
    'current-context': 'bench',
  });
  return {
    kubeconfig,
    grow: (bytes) => {
      const items = Array.from({ length: Math.floor(bytes / CA_BYTES) }, (_, index) => source(index));
      version = 2;
      sources = listOf('ModuleSourceList', version, items);
      for (const watch of watches) watch.destroy();
      return items.length;
    },
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function listOf(kind: string, version: number, items: readonly object[]): string {
  return JSON.stringify({ kind, metadata: { resourceVersion: String(version) }, items });
}

function source(index: number): object {
  const name = `source-${String(index)}`;
  const metadata = { name, uid: name, creationTimestamp: '2026-01-01T00:00:00Z', resourceVersion: '2' };
  const ca = CA.repeat(Math.floor(CA_BYTES / CA.length));
  return { metadata, spec: { registry: { repo: `registry.example/${name}`, scheme: 'HTTPS', ca } } };
}
