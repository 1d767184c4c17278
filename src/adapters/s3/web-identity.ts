/** The keys of a role: a token service issues them for a service account token (AWS STS, AssumeRoleWithWebIdentity). */
import { readFile } from 'node:fs/promises';
import { SingleFlight } from '../../application/concurrency/single-flight.ts';
import { Secret } from '../../domain/credential.ts';
import { UpstreamDeniedError } from '../../domain/errors.ts';
import { readAtMost } from '../registry/body.ts';
import { type HttpRequest, type HttpResponse, sentAt } from '../registry/transport/http-message.ts';
import { type Asked, failure, unavailable, UpstreamFault } from '../registry/upstream-errors.ts';
import type { SigningKeys, SigningKeySource } from './s3-credentials.ts';
import { textOf } from './s3-answers.ts';

/** Keys of an hour are replaced when this much of their life is left, shorter ones after four fifths of their life. */
const MARGIN_MS = 5 * 60_000;
/** The shortest interval of the requests to a token service that fails, or whose keys the bucket refuses. */
const PAUSE_MS = 10_000;
const MAX_ANSWER_BYTES = 64 * 1024;
const ANSWER_MS = 10_000;
const SESSION_NAME = 'registry-packages-proxy';

interface WebIdentityOptions {
  readonly endpoint: URL;
  readonly roleARN: string;
  readonly tokenFile: string;
  readonly send: (request: HttpRequest, signal: AbortSignal) => Promise<HttpResponse>;
  /** Milliseconds on a clock that never jumps. */
  readonly now?: () => number;
}

interface Lent {
  readonly keys: SigningKeys;
  readonly renewAt: number;
  /** The time of expiry on the monotonic clock. */
  readonly endsAt: number;
}

export class WebIdentityKeys implements SigningKeySource {
  readonly #options: WebIdentityOptions;
  readonly #now: () => number;
  readonly #asked: Asked;
  readonly #flights = new SingleFlight<'keys', void>();
  #lent: Lent | undefined;
  #failure: Error | undefined;
  #askedAt = -Infinity;

  constructor(options: WebIdentityOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#asked = { operation: 'token', host: options.endpoint.host };
  }

  async current(): Promise<SigningKeys> {
    const now = this.#now();
    const isDue = this.#lent === undefined || now >= this.#lent.renewAt;
    if (isDue && now - this.#askedAt >= PAUSE_MS) await this.#flights.run('keys', () => this.#renew());
    // Keys that expire soon are used until they have expired.
    if (this.#lent !== undefined && this.#now() < this.#lent.endsAt) return this.#lent.keys;
    throw this.#failure ?? new UpstreamDeniedError({ cause: new Error('keys of the role have expired') });
  }

  refused(): void {
    if (this.#lent !== undefined) this.#lent = { ...this.#lent, renewAt: -Infinity };
  }

  async #renew(): Promise<void> {
    // The request has its own signal, because all requests share the keys.
    const signal = AbortSignal.timeout(ANSWER_MS);
    try {
      this.#lent = await this.#ask(signal);
      this.#failure = undefined;
    } catch (error) {
      this.#failure = failure(this.#asked, error, signal);
    }
    this.#askedAt = this.#now();
  }

  async #ask(signal: AbortSignal): Promise<Lent> {
    const { endpoint, roleARN, tokenFile, send } = this.#options;
    const token = await readFile(tokenFile, 'utf8').catch((cause: unknown) => {
      throw new UpstreamDeniedError({ cause: new Error(`token file ${tokenFile} cannot be read`, { cause }) });
    });
    const form = {
      Action: 'AssumeRoleWithWebIdentity',
      Version: '2011-06-15',
      RoleArn: roleARN,
      RoleSessionName: SESSION_NAME,
      WebIdentityToken: token.trim(),
    };
    const { status, headers, body } = await send({ asked: this.#asked, url: endpoint, headers: {}, form }, signal);
    const xml = (await readAtMost(body, MAX_ANSWER_BYTES, ANSWER_MS)).toString();
    if (status !== 200) {
      const cause = new UpstreamFault(this.#asked, `status ${String(status)} ${textOf(xml, 'Code') ?? ''}`.trim());
      throw status >= 400 && status < 500 ? new UpstreamDeniedError({ cause }) : unavailable(cause);
    }
    return this.#parse(xml, sentAt(headers));
  }

  #parse(xml: string, answeredAt: Date): Lent {
    const [accessKeyId, secretAccessKey, sessionToken] = ['AccessKeyId', 'SecretAccessKey', 'SessionToken'].map(
      (name) => textOf(xml, name),
    );
    const life = Date.parse(textOf(xml, 'Expiration') ?? '') - answeredAt.getTime();
    if (accessKeyId === undefined || secretAccessKey === undefined || Number.isNaN(life)) {
      throw unavailable(new UpstreamFault(this.#asked, 'answer has no keys'));
    }
    const endsAt = this.#now() + life;
    return {
      keys: {
        accessKeyId,
        secretAccessKey: new Secret(secretAccessKey),
        sessionToken: sessionToken === undefined ? undefined : new Secret(sessionToken),
      },
      renewAt: endsAt - Math.min(MARGIN_MS, life / 5),
      endsAt,
    };
  }
}
