/** Finds the flag that an argument without one belongs to, by the form of the argument. */

/** The first form that matches and whose flag the command has is used. */
const FORMS: readonly (readonly [form: RegExp, flag: string])[] = [
  [/^sha256:/, 'digest'],
  [/^https?:\/\//, 'url'],
  [/\.ya?ml$/, 'config'],
  [/\.tar$/, 'from'],
  [/\.(?:txt|json|list)$/, 'list'],
  [/^\d+$/, 'count'],
  // Any other path matches this form.
  [/\//, 'output'],
  [/\//, 'config'],
];

/** Returns `, did you mean --config my.yaml?`, or an empty text if no flag of `known` takes such an argument. */
export function meantFlag(argument: string, known: Readonly<Record<string, unknown>>): string {
  const flag = FORMS.find(([form, name]) => name in known && form.test(argument))?.[1];
  return flag === undefined ? '' : `, did you mean --${flag} ${argument}?`;
}
