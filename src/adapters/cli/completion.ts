/** `completion`: prints shell completions, made from the table of commands and their flags. */
import {
  type Command,
  command,
  EXIT_CODE,
  EXIT_CODES,
  type Flag,
  JSON_FLAG,
  type Row,
  UsageError,
  writeJson,
} from './command.ts';

const PROGRAM = 'registry-packages-proxy';
const SHELLS = { bash, zsh, fish };

/** A command with the possible first words of its arguments. */
interface Entry {
  readonly name: string;
  readonly summary: string;
  readonly flags: readonly (Flag & { readonly name: string })[];
  /** The possible words of the operands; empty if they are files. */
  readonly words: readonly string[];
}

/** `commands` includes this command. */
export function completionCommand(commands: readonly Row[]): Command {
  return command({
    about: `Prints a script that completes commands, flags and files in a shell: ${Object.keys(SHELLS).join(', ')}. \
The script is for this version: load it again after an upgrade.`,
    operands: ['SHELL'],
    flags: { json: JSON_FLAG },
    examples: [
      { to: 'bash, in ~/.bashrc: source <(registry-packages-proxy completion bash)', run: 'completion bash' },
      { to: 'zsh, into a folder of $fpath', run: 'completion zsh > ~/.zfunc/_registry-packages-proxy' },
      { to: 'fish', run: 'completion fish > ~/.config/fish/completions/registry-packages-proxy.fish' },
    ],
    exits: { 0: 'the script is printed', 1: EXIT_CODES[1] },
    async run({ flags, operands: [shell = ''] }, { stdout }) {
      if (!isShell(shell)) throw new UsageError(`SHELL must be one of ${Object.keys(SHELLS).join(', ')}`);
      const entries = await Promise.all(commands.map((row) => entryOf(row)));
      const script = SHELLS[shell](entries);
      if (flags.json === true) writeJson(stdout, { shell, script });
      else stdout.write(script);
      return EXIT_CODE.done;
    },
  });
}

function isShell(text: string): text is keyof typeof SHELLS {
  return Object.hasOwn(SHELLS, text);
}

async function entryOf(row: Row): Promise<Entry> {
  const { name, summary } = row;
  const { flags } = await row.load();
  const help: Flag = { type: 'boolean', about: 'what this command does, with examples' };
  return {
    name,
    summary,
    flags: Object.entries({ ...flags, help }).map(([flag, declaration]) => ({ name: flag, ...declaration })),
    words: name === 'completion' ? Object.keys(SHELLS) : [],
  };
}

/** Readline completes a file if the function returns no words. */
function bash(entries: readonly Entry[]): string {
  const cases = entries.map(({ name, flags, words }) => {
    const valued = flags.filter(({ value }) => value !== undefined).map((flag) => `--${flag.name}`);
    return `    ${name})
      flags='${flags.map((flag) => `--${flag.name}`).join(' ')}' valued='${valued.join(' ')}' words='${words.join(' ')}' ;;`;
  });
  return `_registry_packages_proxy() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} command=\${COMP_WORDS[1]} flags valued words
  COMPREPLY=()
  if ((COMP_CWORD == 1)) && [[ $current != -* ]]; then
    COMPREPLY=($(compgen -W '${entries.map(({ name }) => name).join(' ')}' -- "$current"))
    return
  fi
  [[ $command == -* ]] && command=serve
  case $command in
${cases.join('\n')}
    *) return ;;
  esac
  [[ " $valued " == *" $previous "* ]] && return
  [[ $current == -* ]] && words=$flags
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _registry_packages_proxy ${PROGRAM}
`;
}

function zsh(entries: readonly Entry[]): string {
  const cases = entries.map(({ name, flags, words }) => {
    const specs = flags.map(({ name: flag, about, value }) => {
      const argument = value === undefined ? '' : `:${value}:${value === 'DIRECTORY' ? '_files -/' : '_files'}`;
      return quoted(`--${flag}[${about.replaceAll(/[[\]:\\]/g, String.raw`\$&`)}]${argument}`);
    });
    const rest = words.length === 0 ? '*:file:_files' : `*:word:(${words.join(' ')})`;
    return `    ${name}) _arguments ${[...specs, quoted(rest)].join(' \\\n      ')} ;;`;
  });
  return `#compdef ${PROGRAM}
_registry-packages-proxy() {
  local -a commands=(
${entries.map(({ name, summary }) => `    ${quoted(`${name}:${summary}`)}`).join('\n')}
  )
  if ((CURRENT == 2)) && [[ $words[2] != -* ]]; then
    _describe command commands
    return
  fi
  local command=serve
  if [[ $words[2] != -* ]]; then
    command=$words[2]
    shift words
    ((CURRENT--))
  fi
  case $command in
${cases.join('\n')}
  esac
}
if [[ $funcstack[1] == _registry-packages-proxy ]]; then _registry-packages-proxy "$@"; else compdef _registry-packages-proxy ${PROGRAM}; fi
`;
}

function fish(entries: readonly Entry[]): string {
  const line = (condition: string, ...rest: string[]): string =>
    ['complete', '-c', PROGRAM, '-n', quoted(condition), ...rest].join(' ');
  const named = entries.filter(({ name }) => name !== 'serve').map(({ name }) => name);
  return [
    ...entries.map(({ name, summary }) => line('__fish_use_subcommand', '-f', '-a', name, '-d', quoted(summary))),
    ...entries.flatMap(({ name, flags, words }) => {
      const condition =
        name === 'serve' ? `not __fish_seen_subcommand_from ${named.join(' ')}` : `__fish_seen_subcommand_from ${name}`;
      return [
        ...flags.map(({ name: flag, value, about }) =>
          line(condition, '-l', flag, ...(value === undefined ? ['-f'] : ['-r', '-F']), '-d', quoted(about)),
        ),
        ...(words.length === 0 ? [] : [line(condition, '-f', '-a', quoted(words.join(' ')))]),
      ];
    }),
    '',
  ].join('\n');
}

/** Quotes a word for each of the three shells. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
