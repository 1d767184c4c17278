/** The error that an answer stands for when it is not the one that was asked for. */
import type { PackageError } from '../../domain/errors.ts';
import { type Body, readAtMost } from './body.ts';
import type { HttpResponse } from './transport/http-message.ts';
import { retryAfterOf } from './retry-after.ts';
import { statusError } from './upstream-errors.ts';

const MAX_ERROR_BYTES = 4096;
/** An error's code is for the log only, and a client waits for the error. */
const ERROR_BODY_MS = 1000;

/** Ends the answer. */
export async function refusal({ asked, status, headers, body }: HttpResponse): Promise<PackageError> {
  return statusError(asked, status, await readErrorCode(body), retryAfterOf(headers));
}

/** The first code of OCI's error body (distribution-spec, error codes), for the log. */
async function readErrorCode(body: Body): Promise<string | undefined> {
  try {
    const text = await readAtMost(body, MAX_ERROR_BYTES, ERROR_BODY_MS);
    const code = (JSON.parse(text.toString()) as { errors?: { code?: unknown }[] }).errors?.[0]?.code;
    return typeof code === 'string' && /^[A-Z_]{1,64}$/.test(code) ? code : undefined;
  } catch {
    return undefined;
  }
}
