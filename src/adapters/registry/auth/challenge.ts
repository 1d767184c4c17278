/** The WWW-Authenticate header: what a registry wants to see before it answers (RFC 9110 section 11.6.1). */

export interface Challenge {
  /** In lower case. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const SEPARATORS = /[ \t,]*/y;
const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
/** The rest of `name=value` behind its name; the value is a token or a quoted string. */
const VALUE = /[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^ \t,"]+))/y;
const EQUALS = /[ \t]*=/y;
/** Credentials of schemes that we do not speak (`Negotiate YII…==`). */
const TOKEN68 = / +[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;

/**
 * All challenges, in their order; several headers can be joined by commas. A name followed by `=` is a parameter of the
 * challenge before it, any other name is the scheme of the next one. An unreadable part ends the list.
 */
export function parseChallenges(header: string): Challenge[] {
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(header);
    if (match !== null) at = pattern.lastIndex;
    return match;
  };
  for (;;) {
    take(SEPARATORS);
    const name = take(TOKEN)?.[0].toLowerCase();
    if (name === undefined) return challenges;
    const current = challenges.at(-1);
    const value = current && take(VALUE);
    if (value) {
      current.parameters.set(name, value[2] ?? (value[1] ?? '').replace(/\\(.)/g, '$1'));
    } else if (take(EQUALS)) {
      return challenges;
    } else {
      challenges.push({ scheme: name, parameters: new Map() });
      take(TOKEN68);
    }
  }
}

/** Those that can be answered, if at all, in the order in which to try: Bearer before Basic. */
export function rankChallenges(challenges: readonly Challenge[]): Challenge[] {
  return [
    ...challenges.filter(({ scheme, parameters }) => scheme === 'bearer' && parameters.has('realm')),
    ...challenges.filter(({ scheme }) => scheme === 'basic'),
  ];
}
