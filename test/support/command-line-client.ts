/** A client that updates itself and its plugins as the command line d8 does: the same requests, and as little of each answer. */
import type { Got } from 'got';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createGunzip } from 'node:zlib';

/** The limits of the command line for answers, in bytes. */
const MAX_TAGS = 4 << 20;
const MAX_MANIFEST = 1 << 20;
const ACCEPTED = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
].join(',');

/** An answer that the command line refuses. */
export class CommandLineError extends Error {
  override readonly name = 'CommandLineError';
}

/** The identity of the user, and the authority that has signed the certificate of the endpoint. */
export interface Identity {
  readonly token: string;
  readonly ca: string;
}

/** The time for the head of an answer. */
const HEAD_TIMEOUT_MS = 30_000;
const NAME = 'registry-packages-proxy';

/** Finds the service with the rights of a user: by the Ingress, and without one by a ready pod. */
export async function discoverEndpoint(api: Got, namespace: string): Promise<string> {
  const ingress = await api<{ spec?: { rules?: readonly { host?: string }[] } }>(
    `apis/networking.k8s.io/v1/namespaces/${namespace}/ingresses/${NAME}`,
    { throwHttpErrors: false },
  );
  if (ingress.statusCode !== 200 && ingress.statusCode !== 404) {
    throw new CommandLineError(`endpoint discovery: status ${String(ingress.statusCode)}`);
  }
  const host = ingress.body.spec?.rules?.find((rule) => (rule.host ?? '') !== '')?.host;
  if (host !== undefined) return `https://${host}`;
  const pods = await api<{ items: readonly Pod[] }>(
    `api/v1/namespaces/${namespace}/pods?labelSelector=${encodeURIComponent(`app=${NAME}`)}`,
  );
  const [ready] = pods.body.items.filter(isReady);
  if (ready === undefined) throw new CommandLineError(`no ready pods in namespace ${namespace}`);
  return `https://${ready.status.podIP ?? ''}:4219`;
}

interface Pod {
  readonly metadata: { readonly deletionTimestamp?: string };
  readonly status: {
    readonly phase: string;
    readonly podIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

function isReady({ metadata, status }: Pod): boolean {
  const isMarked = status.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') === true;
  return (
    metadata.deletionTimestamp === undefined && status.phase === 'Running' && isMarked && status.podIP !== undefined
  );
}

export class CommandLineClient {
  readonly #endpoint: string;
  readonly #identity: Identity | undefined;

  /** A client without an identity uses plain HTTP. */
  constructor(endpoint: string, identity?: Identity) {
    this.#endpoint = endpoint;
    this.#identity = identity;
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
    // Go's transport accepts gzip by default, and decodes an answer with that label.
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
    const { token, ca } = this.#identity ?? {};
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const send = ca === undefined ? httpRequest : httpsRequest;
    return new Promise((resolve, reject) => {
      const options = { headers: { ...headers, ...authorization }, agent: false, ca, timeout: HEAD_TIMEOUT_MS };
      const request = send(`${this.#endpoint}/v1/images/${path}`, options, (answer) => {
        const { statusCode = 0 } = answer;
        answer.socket.setTimeout(0);
        if (statusCode >= 200 && statusCode < 300) resolve(answer);
        else {
          read(answer, 256).then((body) => {
            reject(new CommandLineError(`status ${String(statusCode)}: ${body.toString().trim()}`));
          }, reject);
        }
      });
      request
        .on('timeout', () => request.destroy(new CommandLineError('no head in time')))
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

/** The content of a file; undefined until it has arrived. */
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
