/** Whether a command line starts the service: the bundle needs the answer before it loads other code (start.ts). */

/** Parses the arguments after the program's name; returns true for wrong flags, too, because `serve` reports them. */
export function asksToServe(args: readonly string[]): boolean {
  const [first = ''] = args;
  if (first !== '' && first !== 'serve' && !first.startsWith('-')) return false;
  return !flagsOf(args).some((flag) => ['--help', '-h', '--version'].includes(flag));
}

/** Returns the arguments before `--`, because those after it are not flags. */
export function flagsOf(args: readonly string[]): readonly string[] {
  return args.includes('--') ? args.slice(0, args.indexOf('--')) : args;
}
