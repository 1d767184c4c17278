/** Preloaded into the service: records each address that it connects to, by any library. */
import { openSync, writeSync } from 'node:fs';
import { Server, Socket } from 'node:net';

/** Opened at the start, because later there may be no free descriptor. */
const journal = openSync(process.env['DIAL_JOURNAL'] ?? '', 'a');
// eslint-disable-next-line @typescript-eslint/unbound-method -- called with the socket below
const connect = Socket.prototype.connect as (this: Socket, ...options: unknown[]) => Socket;

Socket.prototype.connect = function (this: Socket, ...options: unknown[]): Socket {
  this.on('connectionAttempt', (address: string, port: number) => {
    // The service connects to itself in order to measure how long a connection waits.
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
