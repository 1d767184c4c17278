/** The faults of registries; each is a behaviour for one exchange. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer, Behaviour, Exchange } from './exchange.ts';

export const honestly: Behaviour = (exchange) => {
  answer(exchange, exchange.honest);
};

/** Sends another answer; fields that are absent come from the honest answer. */
export function answering(
  change: Partial<Answer> | ((honest: Answer, exchange: Exchange) => Partial<Answer>),
): Behaviour {
  return (exchange) => {
    const { honest } = exchange;
    answer(exchange, { ...honest, ...(typeof change === 'function' ? change(honest, exchange) : change) });
  };
}

/** Sends a status without a body. */
export function refusing(status: number, headers: Record<string, string> = {}): Behaviour {
  const body = Buffer.from(JSON.stringify({ errors: [{ code: 'UNKNOWN', message: 'canary-message' }] }));
  return answering({ status, headers: { 'content-length': body.byteLength, ...headers }, body });
}

/** Resets the connection after this many bytes of the body; with -1 before the head. */
export function resettingAfter(bytes: number): Behaviour {
  return async (exchange) => {
    if (bytes >= 0) await writePart(exchange, bytes);
    exchange.response.socket?.resetAndDestroy();
  };
}

/** Closes the connection normally after this many bytes, before the end of the body. */
export function closingAfter(bytes: number): Behaviour {
  return async (exchange) => {
    await writePart(exchange, bytes);
    exchange.response.socket?.end();
  };
}

/** Sends nothing more after this many bytes of the body, and keeps the connection open; with -1 sends no head. */
export function stallingAfter(bytes: number): Behaviour {
  return async (exchange) => {
    if (bytes >= 0) await writePart(exchange, bytes);
  };
}

/** Sends single bytes after this many bytes of the body, until the connection ends. */
export function drippingAfter(bytes: number, intervalMs: number): Behaviour {
  return async (exchange) => {
    await writePart(exchange, bytes);
    const { honest, response } = exchange;
    for (let at = bytes; at < honest.body.byteLength && !response.destroyed; at++) {
      await sleep(intervalMs);
      exchange.write(honest.body.subarray(at, at + 1));
    }
    response.end();
  };
}

/** Sends the body at this rate. */
export function pacedAt(bytesPerSecond: number, intervalMs = 20): Behaviour {
  return async (exchange) => {
    const { honest, response } = exchange;
    response.writeHead(honest.status, honest.headers);
    const step = Math.ceil((bytesPerSecond * intervalMs) / 1000);
    const started = performance.now();
    for (let at = 0; at < honest.body.byteLength && !response.destroyed; at += step) {
      exchange.write(honest.body.subarray(at, at + step));
      await sleep(Math.max(0, started + ((at + step) / bytesPerSecond) * 1000 - performance.now()));
    }
    response.end();
  };
}

export function redirecting(location: string, status = 307): Behaviour {
  return answering({ status, headers: { location, 'content-length': 0 }, body: new Uint8Array() });
}

/** Writes exactly these bytes, which need not be HTTP, and closes the connection. */
export function saying(bytes: string | Uint8Array): Behaviour {
  return ({ response }) => {
    response.socket?.end(bytes);
  };
}

/** Sends this many bytes of the body, or of another one, and waits for `awaited`; then sends the rest or resets the connection. */
export function holdingAfter(
  bytes: number,
  awaited: Promise<unknown>,
  then: 'goes on' | 'resets',
  body?: Uint8Array,
): Behaviour {
  return async (exchange) => {
    const whole = body ?? exchange.honest.body;
    await writePart(exchange, bytes, whole);
    await awaited;
    if (then === 'resets') exchange.response.socket?.resetAndDestroy();
    else {
      exchange.write(whole.subarray(bytes));
      exchange.response.end();
    }
  };
}

export function delayedBy(ms: number, then: Behaviour): Behaviour {
  return async (exchange) => {
    await sleep(ms);
    await then(exchange);
  };
}

function answer(exchange: Exchange, { status, headers, body }: Answer): void {
  const { request, response } = exchange;
  response.writeHead(status, headers);
  if (request.method !== 'HEAD') exchange.write(body);
  response.end();
}

/** Resolves when the kernel has the bytes, so that a reset comes after them. */
async function writePart(exchange: Exchange, bytes: number, body = exchange.honest.body): Promise<void> {
  const { honest, response } = exchange;
  response.writeHead(honest.status, honest.headers);
  response.flushHeaders();
  if (bytes > 0) exchange.write(body.subarray(0, bytes));
  await new Promise<void>((resolve) => {
    response.write('', () => {
      resolve();
    });
  });
}
