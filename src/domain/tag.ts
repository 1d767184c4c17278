/** Tags, the names of images that can move (distribution-spec, "Pulling manifests": the tag grammar). */

declare const brand: unique symbol;

export type Tag = string & { readonly [brand]: 'Tag' };

const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

export function isTag(text: string): text is Tag {
  return TAG.test(text);
}
