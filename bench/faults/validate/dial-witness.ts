/** Preloaded into the service: notes each address that it dials, by any library. */
import { openSync, writeSync } from 'node:fs';
import { Server, Socket } from 'node:net';

/** Open from the start: there may be no descriptor left later. */
const journal = openSync(process.env['DIAL_JOURNAL'] ?? '', 'a');
// eslint-disable-next-line @typescript-eslint/unbound-method -- called with the socket below
const connect = Socket.prototype.connect as (this: Socket, ...options: unknown[]) => Socket;

Socket.prototype.connect = function (this: Socket, ...options: unknown[]): Socket {
  this.on('connectionAttempt', (address: string, port: number) => {
    // The service measures how long a connection to itself waits.
    if (!ownPorts.has(port)) writeSync(journal, `${address}:${String(port)}\n`);
  });
  return connect.apply(this, options);
};

const ownPorts = new Set<number>();
// eslint-disable-next-line @typescript-eslint/unbound-method -- called with the server below
const listen = Server.prototype.listen as (this: Server, ...options: unknown[]) => Server;

Server.prototype.listen = function (this: Server, ...options: unknown[]): Server {
  this.once('listening', () => {
    const address = this.address();
    if (typeof address === 'object' && address !== null) ownPorts.add(address.port);
  });
  return listen.apply(this, options);
};
