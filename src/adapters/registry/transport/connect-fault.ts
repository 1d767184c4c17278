/** Why no connection was made: a code that decides about another try, and words for the log that hold no secret. */

export class ConnectFault extends Error {
  override readonly name = 'ConnectFault';
  readonly code: string;
  /** `what` is shown in logs behind the code. */
  constructor(code: string, what: string, options?: ErrorOptions) {
    super(what, options);
    this.code = code;
  }
}

/** For a name, a connection, a proxy's answer or a handshake that takes longer than it may. */
export function connectTimeout(what: string): ConnectFault {
  return new ConnectFault('ETIMEDOUT', what);
}
