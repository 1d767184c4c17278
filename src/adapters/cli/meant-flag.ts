/** The flag that an argument without one is meant for, by the form of the argument. */

/** The first flag of a command whose form fits is meant. */
const FORMS: readonly (readonly [form: RegExp, flag: string])[] = [
  [/^sha256:/, 'digest'],
  [/^https?:\/\//, 'url'],
  [/\.ya?ml$/, 'config'],
  [/\.tar$/, 'from'],
  [/\.(?:txt|json|list)$/, 'list'],
  [/^\d+$/, 'count'],
  // Any other path.
  [/\//, 'output'],
  [/\//, 'config'],
];

/** `, did you mean --config my.yaml?`, or nothing when no flag of `known` takes what looks like this. */
export function meantFlag(argument: string, known: Readonly<Record<string, unknown>>): string {
  const flag = FORMS.find(([form, name]) => name in known && form.test(argument))?.[1];
  return flag === undefined ? '' : `, did you mean --${flag} ${argument}?`;
}
