/** Ends a connection so that the system keeps nothing for a reader that takes nothing. */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

export function resetConnection(socket: Socket): void {
  // Node resets no connection with TLS in it.
  if (socket instanceof TLSSocket) socket.destroy();
  else socket.resetAndDestroy();
}
