/** The fixed ports of the parts. */
import { createServer } from 'node:net';

/** The ports of the service, of its sidecar, and of the kubelet, from which the API server gets logs. */
const PORTS = [5080, 4219, 10250];

/** Returns the ports that other processes use, as ADDRESS:PORT. */
export async function busyPorts(addresses: readonly string[]): Promise<string[]> {
  const busy: string[] = [];
  for (const address of addresses) {
    for (const port of PORTS) if (!(await isFree(address, port))) busy.push(`${address}:${String(port)}`);
  }
  return busy;
}

function isFree(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => {
      resolve(false);
    });
    server.listen(port, address, () => {
      server.close(() => {
        resolve(true);
      });
    });
  });
}
