/** Ends a connection so that the kernel keeps no bytes for a reader that reads nothing. */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

export function resetConnection(socket: Socket): void {
  // Node cannot reset a connection with TLS.
  if (socket instanceof TLSSocket) socket.destroy();
  else socket.resetAndDestroy();
}
