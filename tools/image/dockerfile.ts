/** Parses the Dockerfile; supports only the instructions that it uses. */

export interface Instruction {
  readonly keyword: string;
  readonly text: string;
}

export interface Stage {
  readonly base: string;
  readonly instructions: readonly Instruction[];
}

/** Returns the stages in their order. `buildArgs` are the values of `docker build --build-arg`. */
export function parseDockerfile(source: string, buildArgs: Readonly<Record<string, string>>): Stage[] {
  const values: Record<string, string> = {};
  const stages: { base: string; instructions: Instruction[] }[] = [];
  for (const line of logicalLines(source)) {
    const [, keyword = '', rest = ''] = /^(\w+)\s+(.*)$/.exec(line) ?? [];
    const text = rest.replaceAll(/\$\{(\w+)\}/g, (_, name: string) => valueOf(name, values));
    if (keyword === 'ARG') {
      const [, name = '', fallback] = /^(\w+)(?:=(.*))?$/.exec(text) ?? [];
      values[name] = buildArgs[name] ?? fallback ?? valueOf(name, values);
    } else if (keyword === 'FROM') {
      const [, base = ''] = /^(?:--platform=\S+ )?(\S+)(?: AS \S+)?$/.exec(text) ?? [];
      stages.push({ base, instructions: [] });
    } else {
      stages.at(-1)?.instructions.push({ keyword, text });
    }
  }
  return stages;
}

/** Returns the words of an instruction in exec form. The shell form is refused, because the image has no shell. */
export function parseExecForm(text: string): string[] {
  if (!text.startsWith('[')) throw new Error(`there is no shell in the image to run: ${text}`);
  return JSON.parse(text) as string[];
}

export function parseLabels(text: string): Record<string, string> {
  const pairs = [...text.matchAll(/(\S+?)="([^"]*)"/g)];
  return Object.fromEntries(pairs.map(([, name = '', value = '']) => [name, value]));
}

/** Returns the paths of the build context from a `.dockerignore` that lists exceptions. */
export function parseContext(dockerignore: string): string[] {
  return dockerignore.split('\n').flatMap((line) => (line.startsWith('!') ? [line.slice(1)] : []));
}

function logicalLines(source: string): string[] {
  const lines = source.split('\n').filter((line) => !line.startsWith('#'));
  return lines
    .join('\n')
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line !== '');
}

function valueOf(name: string, values: Readonly<Record<string, string>>): string {
  const value = values[name];
  if (value === undefined) throw new Error(`Dockerfile: no ARG ${name}`);
  return value;
}
