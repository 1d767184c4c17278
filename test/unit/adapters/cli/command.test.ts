import { expect } from 'chai';
import { didYouMean, parseFlags, UsageError } from '../../../../src/adapters/cli/command.ts';

const FLAGS = {
  file: { type: 'string', value: 'FILE', about: 'a file' },
  brief: { type: 'boolean', about: 'say less' },
} as const;

describe('parseFlags', () => {
  const flagsOf = (...args: string[]): unknown => parseFlags(args, FLAGS, []).flags;
  const operandsOf = (names: string[], ...args: string[]): readonly string[] => parseFlags(args, FLAGS, names).operands;

  it('uses the last of two equal flags', () => {
    expect(flagsOf('--file', 'a', '--file=b')).to.include({ file: 'b' });
  });

  it('accepts --flag, --flag=true and --no-flag for a flag without a value, as Go programs do', () => {
    expect(flagsOf()).not.to.have.property('brief');
    for (const flag of ['--brief', '--brief=true']) expect(flagsOf(flag)).to.include({ brief: true });
    for (const flag of ['--no-brief', '--brief=false']) expect(flagsOf('--brief', flag)).to.include({ brief: false });
  });

  it('keeps the value true of a flag that takes a text', () => {
    expect(flagsOf('--file=true')).to.include({ file: 'true' });
  });

  it('accepts operands between flags, and any text after --', () => {
    expect(operandsOf(['A', '[B]'], 'a', '--brief', 'b')).to.deep.equal(['a', 'b']);
    expect(operandsOf(['A', '[B]'], 'a')).to.deep.equal(['a']);
    expect(operandsOf(['A...'], '--', '--brief', 'b', 'c')).to.deep.equal(['--brief', 'b', 'c']);
  });

  for (const [names, args, complaint] of [
    [['A'], [], 'A is missing'],
    [['A', 'B...'], ['a'], 'B... is missing'],
    [['A'], ['a', 'b'], 'unexpected argument "b"'],
    [[], ['--fil', 'a'], 'there is no flag --fil, did you mean --file?'],
    [[], ['-x'], 'there is no flag -x'],
    [[], ['--file'], "Option '--file <value>' argument missing"],
    [[], ['--file', '--brief'], "Option '--file' argument is ambiguous"],
    [[], ['--brief=maybe'], "Option '--brief' does not take an argument"],
  ] as const) {
    it(`refuses ${args.join(' ') || 'nothing'} where ${names.join(' ') || 'nothing'} is expected`, () => {
      expect(() => parseFlags(args, FLAGS, names))
        .to.throw(UsageError)
        .with.property('message', complaint);
    });
  }
});

describe('didYouMean', () => {
  const NAMES = ['serve', 'check-config', 'mirror', '--cache-directory', '--cache-retention-size'];

  for (const [typed, meant] of [
    ['serv', 'serve'],
    ['sevre', undefined],
    ['checkconfig', 'check-config'],
    ['miror', 'mirror'],
    ['--cache-dir', '--cache-directory'],
    ['--cache_retention_size', '--cache-retention-size'],
    ['delete', undefined],
    ['x', undefined],
  ] as const) {
    it(`takes ${typed} for ${meant ?? 'nothing that there is'}`, () => {
      expect(didYouMean(typed, NAMES)).to.equal(meant === undefined ? '' : `, did you mean ${meant}?`);
    });
  }
});
