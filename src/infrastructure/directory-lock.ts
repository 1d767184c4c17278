/** Keeps a second process from writing into the same directory: both would write, count or remove the same files. */
import { stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';

/**
 * A name in Linux' abstract namespace of sockets. It is nowhere on the disk, which may be carried to another host at any
 * time, and goes with its process, however that ends. It holds on one host and within one network namespace: pods with
 * hostNetwork share the host's, all others have their own. Files that two without a lock have spoilt are found by `verify`
 * and by the service, which prove every byte. Rejects with the message when somebody has it already.
 */
export async function holdDirectory(directory: string, message: string): Promise<Server> {
  const { dev, ino } = await stat(directory);
  const server = createServer((socket) => socket.destroy());
  server.unref();
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'EADDRINUSE' ? new Error(message) : error);
    });
    server.listen(`\0registry-packages-proxy/${String(dev)}:${String(ino)}`, () => {
      resolve(server);
    });
  });
}
