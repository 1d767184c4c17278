/** An OpenAPI document as a list of requests: each example of an answer, with the parameters of the same name. */
import { parse } from 'yaml';

interface Example {
  readonly value?: unknown;
  /** Its path relative to the document. */
  readonly externalValue?: string;
}

type Examples = Readonly<Record<string, Example>>;

interface Described {
  readonly required?: boolean;
  readonly schema: object;
  readonly examples?: Examples;
}

export interface Parameter extends Described {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  /** Examples that the schema forbids. */
  readonly 'x-wrong-examples'?: Examples;
}

export interface ResponseObject {
  readonly headers?: Readonly<Record<string, Described>>;
  readonly content?: Readonly<Record<string, Described>>;
  /** Names of the examples of an answer without a body. */
  readonly 'x-examples'?: readonly string[];
}

interface Operation {
  readonly parameters?: readonly Parameter[];
  readonly responses: Readonly<Record<string, ResponseObject>>;
}

export interface OpenApi {
  readonly info: { readonly version: string };
  readonly paths: Readonly<
    Record<string, { readonly parameters?: readonly Parameter[]; readonly get: Operation; readonly head?: Operation }>
  >;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

export interface ExampleRequest {
  readonly example: string;
  readonly method: 'GET' | 'HEAD';
  /** The path as in the document. */
  readonly template: string;
  /** The path with the values of its parameters. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly status: string;
  readonly response: ResponseObject;
}

/** Replaces each reference by its target; no reference of the document is cyclic. */
function dereference(node: unknown, document = node): unknown {
  if (Array.isArray(node)) return node.map((item) => dereference(item, document));
  if (typeof node !== 'object' || node === null) return node;
  if ('$ref' in node) return dereference(target(String(node.$ref), document), document);
  return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, dereference(value, document)]));
}

function target(reference: string, document: unknown): unknown {
  const found = reference
    .replace(/^#\//, '')
    .split('/')
    .reduce<unknown>((node, key) => (node as Readonly<Record<string, unknown>> | undefined)?.[key], document);
  if (found === undefined) throw new Error(`${reference} leads nowhere`);
  return found;
}

export function parseOpenApi(yaml: string): OpenApi {
  return dereference(parse(yaml)) as OpenApi;
}

export function exampleRequests({ paths }: OpenApi): ExampleRequest[] {
  return Object.entries(paths).flatMap(([path, item]) =>
    (['get', 'head'] as const).flatMap((verb) => {
      const { parameters = [], responses } = item[verb] ?? { responses: {} };
      const known = [...(item.parameters ?? []), ...parameters];
      return Object.entries(responses).flatMap(([status, response]) =>
        namesOf(response).map((example) => ({
          example,
          method: verb === 'get' ? 'GET' : 'HEAD',
          template: path,
          path: concretePath(path, known, example),
          query: valuesOf(known, 'query', example),
          headers: { accept: acceptOf(response, example), ...valuesOf(known, 'header', example) },
          status,
          response,
        })),
      );
    }),
  );
}

/** Fills in the parameters of a path; a parameter without a value for the example gets its first value. */
export function concretePath(path: string, parameters: readonly Parameter[] = [], example = ''): string {
  const values = valuesOf(parameters, 'path', example);
  return path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const [first] = Object.values(parameters.find((parameter) => parameter.name === name)?.examples ?? {});
    return values[name] ?? String(first?.value);
  });
}

function namesOf({ content = {}, 'x-examples': names = [] }: ResponseObject): string[] {
  return [...names, ...Object.values(content).flatMap(({ examples = {} }) => Object.keys(examples))];
}

/** Media types that a client gets only by Accept. */
const CHOSEN = ['application/problem+json', 'application/json', 'text/plain'];

function acceptOf({ content = {} }: ResponseObject, example: string): string {
  const [type] = Object.entries(content).find(([, { examples }]) => examples?.[example] !== undefined) ?? [];
  return CHOSEN.includes(type ?? '') ? String(type) : '*/*';
}

function valuesOf(parameters: readonly Parameter[], place: Parameter['in'], example: string): Record<string, string> {
  const values = parameters.flatMap((parameter): [string, string][] => {
    const { examples, 'x-wrong-examples': wrong } = parameter;
    const shown = examples?.[example] ?? wrong?.[example];
    return parameter.in === place && shown !== undefined ? [[parameter.name, String(shown.value)]] : [];
  });
  return Object.fromEntries(values);
}
