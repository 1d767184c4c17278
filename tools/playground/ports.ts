/** The fixed ports of the parts, which one machine has once. */
import { createServer } from 'node:net';

/** The service, its sidecar, and what the API server asks for logs. */
const PORTS = [5080, 4219, 10250];

/** Those that other processes have, as ADDRESS:PORT. */
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
