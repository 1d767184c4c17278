/** Preloaded into the service: notes each address that it dials, whatever library does it. */
import { openSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';

/** Open from the start: there may be no descriptor left later. */
const journal = openSync(process.env['DIAL_JOURNAL'] ?? '', 'a');
// eslint-disable-next-line @typescript-eslint/unbound-method -- called with the socket below
const connect = Socket.prototype.connect as (this: Socket, ...options: unknown[]) => Socket;

Socket.prototype.connect = function (this: Socket, ...options: unknown[]): Socket {
  this.on('connectionAttempt', (address: string, port: number) => {
    writeSync(journal, `${address}:${String(port)}\n`);
  });
  return connect.apply(this, options);
};
