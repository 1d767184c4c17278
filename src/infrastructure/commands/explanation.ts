/** The part of the answer of /explain that the command shows; docs/openapi.yaml has all of it. */
import * as z from 'zod';

const time = z.iso.datetime().transform((text) => new Date(text));
const text = z.string();
const bytes = z.number();

const keptBlob = z.object({ size: bytes, stored_at: time, used_at: time, verified_at: time.nullable() });
const answer = z.object({ at: time, code: text, detail: text, cause: text.nullable() });

export const explanationSchema = z.object({
  request: z.object({ digest: text, repository: text, path: text.nullable() }),
  verdict: z.discriminatedUnion('outcome', [
    z.object({ outcome: z.enum(['hit', 'joined', 'miss', 'bypass']), reason: text, needs_registry: z.boolean() }),
    z.object({
      outcome: z.literal('fail'),
      status: z.number(),
      code: text,
      reason: text,
      cause: text.nullable(),
      seen_at: time.nullable(),
    }),
  ]),
  configuration: z.object({
    registry: z.object({ resource: text, object: text.nullable() }).nullable(),
    upstream: z
      .object({
        scheme: text,
        host: text,
        repository: text.nullable(),
        credential: z.object({ kind: text, user: text.nullable() }),
        certificates: z.number(),
      })
      .nullable(),
    error: z.object({ detail: text }).nullable(),
    sources: z.array(
      z.object({
        resource: text,
        listed_at: time.nullable(),
        objects: z.number(),
        rejected: z.array(z.object({ object: text, reason: text })),
        failure: z.object({ at: time, reason: text }).nullable(),
      }),
    ),
    known_repositories: z.array(text),
  }),
  layer: z.object({ digest: text, size: bytes }).nullable(),
  kept: z.object({ manifest: keptBlob.nullable(), layer: keptBlob.nullable() }),
  fill: z.object({ bytes, size: bytes, started_at: time }).nullable(),
  answers: z.object({
    manifest: answer.nullable(),
    layer: answer.nullable(),
    latest: answer.extend({ operation: text, digest: text }).nullable(),
  }),
  failures: z.array(
    z.object({
      repository: text.nullable(),
      path: text.nullable(),
      status: z.number(),
      code: text,
      detail: text,
      cause: text.nullable(),
      count: z.number(),
      last_at: time,
    }),
  ),
});

export type Explanation = z.output<typeof explanationSchema>;
