/** Requests for packages and manifests under the bounds of the admission. */
import type { Middleware, ParameterizedContext } from 'koa';
import { Socket } from 'node:net';
import type { BlobReader } from '../../domain/ports/package-store.ts';
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

/** Waits for the turn of the body, before its head, and sends it. Rejects as `Admission.place` and `sendBlob` do. */
export async function sendInTurn(
  { res }: Pick<ParameterizedContext, 'res'>,
  blob: BlobReader,
  admission: Admission,
  sending: Omit<Sending, 'onBlocked'>,
): Promise<void> {
  const gone = new AbortController();
  const leave = (): void => {
    gone.abort(new ClientGoneError());
  };
  res.once('close', leave);
  const displace = (): void => {
    // A reset, since the system would keep what it holds for a reader that does not take it.
    if (res.socket instanceof Socket) res.socket.resetAndDestroy();
    else res.destroy();
  };
  const place = await admission.place(sending.end - sending.start, displace, gone.signal);
  res.off('close', leave);
  const onSent = (bytes: number): void => {
    place.taken();
    sending.onSent(bytes);
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
