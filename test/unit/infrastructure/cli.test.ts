import { expect } from 'chai';
import { HELP, parseCommandLine, UsageError } from '../../../src/infrastructure/cli.ts';

describe('parseCommandLine', () => {
  it('serves, with a file when one is named', () => {
    expect(parseCommandLine([])).to.deep.include({ kind: 'serve', config: undefined });
    expect(parseCommandLine(['--config', 'a.yaml'])).to.deep.include({ kind: 'serve', config: 'a.yaml' });
  });

  it('lets the last of two flags win', () => {
    expect(parseCommandLine(['--config', 'a.yaml', '--config=b.yaml'])).to.deep.include({ config: 'b.yaml' });
  });

  it('takes a flag without a value as Go programs do, with one', () => {
    const enabled = (...args: string[]): unknown => {
      const command = parseCommandLine(args);
      return command.kind === 'serve' && command.flags.data['store'];
    };
    expect(enabled()).to.equal(undefined);
    for (const flag of ['--disable-cache', '--disable-cache=true'])
      expect(enabled(flag)).to.deep.equal({ enabled: false });
    expect(enabled('--disable-cache', '--disable-cache=false')).to.deep.equal({ enabled: true });
  });

  it('shows help and version whatever else is asked', () => {
    expect(parseCommandLine(['--help', '--log-level', 'x'])).to.deep.equal({ kind: 'help' });
    expect(parseCommandLine(['--version'])).to.deep.equal({ kind: 'version' });
  });

  for (const args of [['--port', '1'], ['serve'], ['--config'], ['--disable-cache=yes']]) {
    it(`refuses ${args.join(' ')}`, () => {
      expect(() => parseCommandLine(args)).to.throw(UsageError);
    });
  }

  it('explains every flag', () => {
    for (const flag of [
      'config',
      'listen-address',
      'cache-directory',
      'cache-retention-size',
      'disable-cache',
      'log-level',
      'help',
      'version',
    ]) {
      expect(HELP).to.include(`--${flag}`);
    }
  });
});
