/** Requests for packages and manifests under the bounds of the admission. */
import type { Middleware, ParameterizedContext } from 'koa';
import type { ServerResponse } from 'node:http';
import { TLSSocket } from 'node:tls';
import type { BlobReader } from '../../../domain/ports/package-store.ts';
import type { Admission } from './admission.ts';
import type { RequestState } from './request-record.ts';
import { ClientGoneError, sendBlob, type Sending } from './send-blob.ts';

/** Counts the request while it runs. */
export function admitted(admission: Admission): Middleware<RequestState> {
  return async (ctx, next) => {
    const { client, connected } = ctx.state.record;
    // A process of this host that names no client: all of them have one address.
    const isNameless = client === connected && /^(::ffff:)?127\.|^::1$/.test(connected);
    const end = admission.begin(isNameless ? undefined : client);
    try {
      await next();
    } finally {
      end();
    }
  };
}

/** The work hears when the client leaves: a download or a body that waits for its turn need not begin then. */
export async function untilClosed(
  response: ServerResponse,
  work: (leaving: AbortSignal) => Promise<void>,
): Promise<void> {
  const leaving = new AbortController();
  const leave = (): void => {
    // Behind a whole response there is nothing left to end, and an error with its stack costs more than a small answer.
    if (!response.writableFinished) leaving.abort(new ClientGoneError());
  };
  if (response.destroyed) leave();
  response.once('close', leave);
  try {
    await work(leaving.signal);
  } finally {
    response.off('close', leave);
  }
}

/**
 * Waits for the turn of the body, before its head, and sends it. Rejects as `Admission.place` and `sendBlob` do; `leaving` is
 * aborted when the client leaves.
 */
export async function sendInTurn(
  { res }: Pick<ParameterizedContext, 'res'>,
  blob: BlobReader,
  admission: Admission,
  leaving: AbortSignal,
  sending: Omit<Sending, 'onBlocked'>,
): Promise<void> {
  const displace = (): void => {
    // A reset, since the system would keep what it holds for a reader that does not take it.
    // Node resets no connection with TLS in it.
    if (res.socket === null || res.socket instanceof TLSSocket) res.destroy();
    else res.socket.resetAndDestroy();
  };
  const bytes = sending.end - sending.start;
  const place = admission.freePlace(bytes, displace) ?? (await admission.place(bytes, displace, leaving));
  const onSent = (taken: number): void => {
    place.taken();
    sending.onSent(taken);
  };
  try {
    const onBlocked = (): void => {
      place.blocked();
    };
    await sendBlob(res, blob, { ...sending, onSent, onBlocked });
  } finally {
    place.release();
  }
}
