/** The part of a running service's `/status` that `top` shows. */
import { CommandFailure, type Terminal } from './command.ts';
import { askService, type ServiceAccess } from './service-access.ts';

/** The type of each field; `?` means that it can be null. The document has more fields, and later versions may add some. */
const SHAPE = {
  version: 'string',
  node: 'string?',
  pod: 'string?',
  started_at: 'string',
  at: 'string',
  ready: 'boolean',
  missing: ['string'],
  cache: {
    bytes: 'number',
    max_bytes: 'number',
    limit_bytes: 'number',
    blobs: 'number',
    evicted: 'number',
    damaged: 'number',
  },
  outcomes: { hit: 'number', miss: 'number', joined: 'number', bypass: 'number' },
  last_hour: [{ at: 'string', hits: 'number', misses: 'number', failures: 'number', bytes: 'number' }],
  failures: [
    {
      digest: 'string?',
      repository: 'string?',
      path: 'string?',
      status: 'number',
      code: 'string',
      detail: 'string',
      count: 'number',
      last_at: 'string',
    },
  ],
  downloads: {
    max: 'number',
    running: 'number',
    idle: 'number',
    queued: 'number',
    list: [
      {
        digest: 'string',
        repository: 'string',
        path: 'string?',
        layer: 'string',
        bytes: 'number',
        size: 'number',
        clients: 'number',
        queued: 'boolean',
        started_at: 'string',
        opened_at: 'string?',
        received_at: 'string?',
      },
    ],
  },
} as const;

interface Primitives {
  readonly string: string;
  readonly 'string?': string | null;
  readonly number: number;
  readonly boolean: boolean;
}

type Shape = keyof Primitives | readonly [Shape] | { readonly [name: string]: Shape };

type Shaped<Form> = Form extends keyof Primitives
  ? Primitives[Form]
  : Form extends readonly [infer Item]
    ? readonly Shaped<Item>[]
    : { readonly [Name in keyof Form]: Shaped<Form[Name]> };

export type ServiceStatus = Shaped<typeof SHAPE>;

/** @throws CommandFailure if the service does not answer, or answers with another document */
export async function readStatus(
  access: ServiceAccess,
  terminal: Pick<Terminal, 'interrupted'>,
): Promise<ServiceStatus> {
  const answer = await askService(access, '/status', 'application/json', terminal);
  const status = pick(parseJson(answer.toString()), SHAPE);
  if (status !== MISSHAPEN) return status as ServiceStatus;
  throw new CommandFailure(`${access.origin.origin} did not answer with its state: it may be an older version`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const MISSHAPEN = Symbol();

/** Returns only the fields of the shape, or MISSHAPEN if a field is missing or has another type. */
function pick(value: unknown, shape: Shape): unknown {
  if (typeof shape === 'string') {
    const isOfType = typeof value === shape.replace('?', '') || (value === null && shape.endsWith('?'));
    return isOfType ? value : MISSHAPEN;
  }
  if (isList(shape)) {
    if (!Array.isArray(value)) return MISSHAPEN;
    const items = value.map((item) => pick(item, shape[0]));
    return items.includes(MISSHAPEN) ? MISSHAPEN : items;
  }
  if (typeof value !== 'object' || value === null) return MISSHAPEN;
  const fields = Object.entries(shape).map(
    ([name, form]) => [name, pick((value as Record<string, unknown>)[name], form)] as const,
  );
  return fields.some(([, field]) => field === MISSHAPEN) ? MISSHAPEN : Object.fromEntries(fields);
}

function isList(shape: Shape): shape is readonly [Shape] {
  return Array.isArray(shape);
}
