/** A client that updates itself and its plugins as the command line d8 does: the same requests, and as little of each answer. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { createGunzip } from 'node:zlib';

/** Its caps, in bytes. */
const MAX_TAGS = 4 << 20;
const MAX_MANIFEST = 1 << 20;
const ACCEPTED = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
].join(',');

/** An answer that it does not take. */
export class CommandLineError extends Error {
  override readonly name = 'CommandLineError';
}

export class CommandLineClient {
  readonly #endpoint: string;

  constructor(endpoint: string) {
    this.#endpoint = endpoint;
  }

  /** `image`: the command line, or a plugin of it. */
  async tags(image: string): Promise<readonly string[]> {
    const answer = await this.#get(`${image}/tags`, { accept: 'application/json' });
    const { tags } = JSON.parse((await read(answer, MAX_TAGS)).toString()) as { tags: readonly string[] | null };
    return tags ?? [];
  }

  /** The contract of a plugin, out of an annotation of its manifest, or of the first one that an index names. */
  async contract(plugin: string, reference: string): Promise<unknown> {
    const answer = await this.#get(`${plugin}/manifests/${reference}`, { accept: ACCEPTED });
    const manifest = JSON.parse((await read(answer, MAX_MANIFEST)).toString()) as {
      annotations?: Readonly<Record<string, string>>;
      manifests?: readonly { digest: string }[];
    };
    const contract = manifest.annotations?.['contract'];
    if (contract !== undefined) return JSON.parse(Buffer.from(contract, 'base64').toString());
    const [first] = manifest.manifests ?? [];
    if (first === undefined) throw new CommandLineError('no contract');
    return this.contract(plugin, first.digest);
  }

  /** The first regular file of the archive that is called `file`; the rest of the answer is not read. */
  async pull(image: string, version: string, platform: string, file: string): Promise<Buffer> {
    // Go's transport asks for gzip by itself, and would unpack what is labelled so.
    const answer = await this.#get(`${image}/images/${version}?platform=${platform}`, { 'accept-encoding': 'gzip' });
    if (answer.headers['content-encoding'] !== undefined) throw new CommandLineError('unpacked twice');
    try {
      let archive = Buffer.alloc(0);
      for await (const chunk of answer.pipe(createGunzip())) {
        archive = Buffer.concat([archive, chunk as Buffer]);
        const found = fileIn(archive, file);
        if (found !== undefined) return found;
      }
      throw new CommandLineError(`no file ${file}`);
    } finally {
      answer.destroy();
    }
  }

  /** One attempt, no redirect. */
  #get(path: string, headers: Readonly<Record<string, string>>): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      httpRequest(`${this.#endpoint}/v1/images/${path}`, { headers, agent: false }, (answer) => {
        const { statusCode = 0 } = answer;
        if (statusCode >= 200 && statusCode < 300) resolve(answer);
        else {
          read(answer, 256).then((body) => {
            reject(new CommandLineError(`status ${String(statusCode)}: ${body.toString().trim()}`));
          }, reject);
        }
      })
        .on('error', reject)
        .end();
    });
  }
}

async function read(answer: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  if (body.byteLength > maxBytes) throw new CommandLineError('unexpected EOF');
  return body;
}

/** Undefined while the archive has not come so far. */
function fileIn(archive: Buffer, wanted: string): Buffer | undefined {
  for (let at = 0; at + 512 <= archive.byteLength;) {
    const header = archive.subarray(at, at + 512);
    const name = header.subarray(0, 100).toString().replace(/\0.*$/s, '');
    const size = parseInt(header.subarray(124, 135).toString(), 8) || 0;
    const isRegular = [0, 0x30].includes(header.readUInt8(156));
    if (isRegular && name.split('/').at(-1) === wanted) {
      const end = at + 512 + size;
      return end <= archive.byteLength ? archive.subarray(at + 512, end) : undefined;
    }
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return undefined;
}
