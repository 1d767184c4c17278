/** Whether a command line asks for the service: the bundle wants to know it before anything is loaded (start.ts). */

/** Reads the arguments behind the program's name; true for wrong flags too, because `serve` reports them. */
export function asksToServe(args: readonly string[]): boolean {
  const [first = ''] = args;
  if (first !== '' && first !== 'serve' && !first.startsWith('-')) return false;
  return !flagsOf(args).some((flag) => ['--help', '-h', '--version'].includes(flag));
}

/** The arguments before `--`; none behind it is a flag. */
export function flagsOf(args: readonly string[]): readonly string[] {
  return args.includes('--') ? args.slice(0, args.indexOf('--')) : args;
}
