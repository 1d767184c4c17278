/** The part of a Kubernetes API that kube-rbac-proxy uses. Every token is valid and every access is allowed. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { writeFile } from 'node:fs/promises';

export interface TokenReviews {
  /** The path of a kubeconfig for this API. */
  readonly kubeconfig: string;
  close(): void;
}

export async function startTokenReviews(kubeconfig: string): Promise<TokenReviews> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const review = JSON.parse(Buffer.concat(chunks).toString()) as object;
      const isToken = request.url?.includes('/tokenreviews') ?? false;
      const status = isToken ? { authenticated: true, user: { username: 'node' } } : { allowed: true };
      response.writeHead(201, { 'Content-Type': 'application/json' }).end(JSON.stringify({ ...review, status }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'bench', cluster: { server: `http://127.0.0.1:${String(port)}` } }],
    users: [{ name: 'bench', user: {} }],
    contexts: [{ name: 'bench', context: { cluster: 'bench', user: 'bench' } }],
    'current-context': 'bench',
  };
  await writeFile(kubeconfig, JSON.stringify(config));
  return {
    kubeconfig,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
