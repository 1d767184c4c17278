/** A name server on a loopback UDP socket that sends the replies of a test, or none. */
import { createSocket, type Socket } from 'node:dgram';

export interface Question {
  /** In lower case, without the dot at its end. */
  readonly name: string;
  readonly type: 'A' | 'AAAA';
}

/** Addresses of the type, a refusal, or silence. An empty list means that the name has none of this type. */
export type Reply = readonly string[] | 'NXDOMAIN' | 'SERVFAIL' | 'REFUSED' | 'silence';

const RESPONSE_CODES = { NXDOMAIN: 3, SERVFAIL: 2, REFUSED: 5 } as const;
const TYPE_AAAA = 28;
const HEADER_BYTES = 12;

export class FakeNameServer {
  readonly #socket: Socket;
  readonly #reply: (question: Question) => Reply;
  /** Oldest first. */
  readonly questions: Question[] = [];

  private constructor(reply: (question: Question) => Reply) {
    this.#reply = reply;
    this.#socket = createSocket('udp4', (query, { port, address }) => {
      const answer = this.#answer(query);
      if (answer !== undefined) this.#socket.send(answer, port, address);
    });
  }

  static async start(
    reply: (question: Question) => Reply,
    { address = '127.0.0.1', port = 0 }: { address?: string; port?: number } = {},
  ): Promise<FakeNameServer> {
    const server = new FakeNameServer(reply);
    await new Promise<void>((resolve, reject) => {
      server.#socket.once('error', reject).bind(port, address, resolve);
    });
    return server;
  }

  /** For a `nameserver` line. */
  get address(): string {
    return `127.0.0.1:${String(this.#socket.address().port)}`;
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#socket.close(resolve);
    });
  }

  asked(name: string): number {
    return this.questions.filter((question) => question.name === name).length;
  }

  /** RFC 1035, section 4. */
  #answer(query: Buffer): Buffer | undefined {
    const labels: string[] = [];
    let end = HEADER_BYTES;
    for (let length = query.readUInt8(end); length > 0; length = query.readUInt8(end)) {
      labels.push(query.toString('latin1', end + 1, end + 1 + length));
      end += 1 + length;
    }
    const type = query.readUInt16BE(end + 1) === TYPE_AAAA ? 'AAAA' : 'A';
    const question: Question = { name: labels.join('.').toLowerCase(), type };
    this.questions.push(question);
    const reply = this.#reply(question);
    if (reply === 'silence') return undefined;
    const addresses = typeof reply === 'string' ? [] : reply;
    const header = Buffer.alloc(HEADER_BYTES);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(0x8180 + (typeof reply === 'string' ? RESPONSE_CODES[reply] : 0), 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(addresses.length, 6);
    const records = addresses.map((address) => recordOf(question.type, address));
    return Buffer.concat([header, query.subarray(HEADER_BYTES, end + 5), ...records]);
  }
}

function recordOf(type: Question['type'], address: string): Buffer {
  const data = Buffer.from(type === 'A' ? address.split('.').map(Number) : expanded(address));
  const fixed = Buffer.alloc(12);
  fixed.writeUInt16BE(0xc000 + HEADER_BYTES, 0);
  fixed.writeUInt16BE(type === 'A' ? 1 : TYPE_AAAA, 2);
  fixed.writeUInt16BE(1, 4);
  fixed.writeUInt32BE(60, 6);
  fixed.writeUInt16BE(data.byteLength, 10);
  return Buffer.concat([fixed, data]);
}

/** The 16 bytes of an IPv6 address in its short form. */
function expanded(address: string): number[] {
  const [left = '', right = ''] = address.split('::');
  const groups = (text: string): number[] => (text === '' ? [] : text.split(':').map((group) => parseInt(group, 16)));
  const [before, after] = [groups(left), groups(right)];
  const middle = Array.from({ length: 8 - before.length - after.length }, () => 0);
  return [...before, ...middle, ...after].flatMap((group) => [group >> 8, group & 0xff]);
}
