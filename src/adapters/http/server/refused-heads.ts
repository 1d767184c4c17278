/** Answers, logs and counts requests that no handler gets: the head is unreadable, or the connection is beyond the limit. */
import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import { errnoOf } from '../../../domain/errors.ts';
import { problemOf, RefusedError } from './problem.ts';
import type { RequestObserver } from './request-record.ts';
import { RequestTrace } from './trace-context.ts';

/** Answers the request, or only closes the connection if another response has begun on it. */
export type HeadRefusal = (error: Error, socket: Socket, mayAnswer: boolean) => void;

/**
 * The time in which unread bytes are read. A socket that is closed with unread bytes is reset, and its client may lose the
 * response.
 */
const LINGER_MS = 1000;

export function refuseHeads(observers: readonly RequestObserver[]): HeadRefusal {
  const refused = new WeakSet<Socket>();
  return (error, socket, mayAnswer) => {
    // The parser reports the error again for each following piece.
    if (refused.has(socket)) return;
    refused.add(socket);
    const refusal = refusalOf(error);
    if (refusal === undefined || !mayAnswer || !socket.writable) {
      socket.destroy();
      return;
    }
    const { status, detail, headers } = problemOf(refusal);
    const id = randomUUID();
    const body = `${detail}\n`;
    socket.end(`${headOf(status, id, body, headers)}\r\n\r\n${body}`);
    // The parser has not failed here, so it would parse further bytes as a request.
    if (refusal.code === 'HEAD_TIMEOUT') socket.destroySoon();
    else linger(socket);
    const { remoteAddress = '', bytesRead } = socket;
    // A connection that was opened in advance and not used is not a request.
    if (bytesRead === 0) return;
    const trace = new RequestTrace('', '');
    const unread = { package: undefined, cache: undefined, method: 'other', route: 'other', seconds: 0 };
    for (const observe of observers) {
      observe({
        ...unread,
        id,
        trace,
        client: remoteAddress,
        connected: remoteAddress,
        bytes: body.length,
        error: refusal,
        status,
      });
    }
  };
}

/** Reads further bytes of the client. The parser has failed, so they cause no request. */
function linger(socket: Socket): void {
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once('close', () => {
    clearTimeout(timer);
  });
}

/** Returns undefined for a connection that has failed. */
function refusalOf(error: Error): RefusedError | undefined {
  if (error instanceof RefusedError) return error;
  const code = errnoOf(error) ?? '';
  if (code === 'HPE_HEADER_OVERFLOW') return new RefusedError('HEADERS_TOO_LARGE', 'request headers are too large');
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new RefusedError('HEAD_TIMEOUT', 'request head did not come in time');
  return code.startsWith('HPE_') ? new RefusedError('REQUEST_INVALID', 'request is not HTTP') : undefined;
}

function headOf(status: number, id: string, body: string, headers: RefusedError['headers']): string {
  return [
    `HTTP/1.1 ${String(status)} Refused`,
    'Connection: close',
    'Cache-Control: no-store',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${String(body.length)}`,
    'X-Content-Type-Options: nosniff',
    `X-Request-Id: ${id}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ].join('\r\n');
}
