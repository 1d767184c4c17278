import { expect } from 'chai';
import fc from 'fast-check';
import { ListReader } from '../../../../src/adapters/kubernetes/list-reader.ts';

interface Read {
  readonly items: unknown[];
  readonly document: unknown;
}

/** In chunks of so many bytes. */
function read(text: string, chunkBytes: number): Read {
  const items: unknown[] = [];
  const reader = new ListReader((item) => items.push(item));
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.byteLength; at += chunkBytes) reader.push(bytes.subarray(at, at + chunkBytes));
  return { document: reader.end(), items };
}

describe('ListReader', () => {
  it('returns the result of JSON.parse, however the bytes are split', () => {
    const object = fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue(), { noNullPrototype: true });
    const frame = object.map((fields) => Object.fromEntries(Object.entries(fields).filter(([key]) => key !== 'items')));
    const property = fc.property(
      frame,
      fc.array(object),
      frame,
      fc.integer({ min: 1, max: 40 }),
      fc.constantFrom(undefined, 1, '\t'),
      (head, items, tail, chunkBytes, space) => {
        const text = JSON.stringify({ ...head, items, ...tail }, undefined, space);
        const whole = JSON.parse(text) as Record<string, unknown>;
        const found = read(text, chunkBytes);
        expect(found.items).to.deep.equal(whole['items']);
        expect(found.document).to.deep.equal({ ...whole, items: [] });
      },
    );
    fc.assert(property);
  });

  it('does not confuse a list inside of an item, or the word "items" in a value, with the list', () => {
    const text = '{"kind":"items","metadata":{"items":[1]},"items":[{"items":[{"a":"\\\\\\""}]}],"also":["items",[2]]}';
    for (const chunkBytes of [1, 2, 3, 1000]) {
      expect(read(text, chunkBytes)).to.deep.equal({
        items: [{ items: [{ a: '\\"' }] }],
        document: { kind: 'items', metadata: { items: [1] }, items: [], also: ['items', [2]] },
      });
    }
  });

  for (const text of ['{"items":[7]}', '{"items":["a"]}', '{"items":[[]]}', '{"items":[null]}', '[]', 'null', '7']) {
    it(`refuses ${text}`, () => {
      expect(() => read(text, 2)).to.throw(/must be an object|is not a JSON object/);
    });
  }

  for (const text of ['', '{"items":[{}', '{"items":[{"a":1}', '{"items":[{]}', 'not found', '{"items":[{"a"}]}']) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      expect(() => read(text, 3)).to.throw(SyntaxError);
    });
  }
});
