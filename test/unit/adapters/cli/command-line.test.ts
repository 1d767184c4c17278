import { expect } from 'chai';
import { asksToServe } from '../../../../src/adapters/cli/asks-to-serve.ts';
import {
  commandHelp,
  parseCommandLine,
  programHelp,
  runCommandLine,
} from '../../../../src/adapters/cli/command-line.ts';
import { COMMANDS } from '../../../../src/infrastructure/commands/table.ts';
import { FakeTerminal } from '../../../support/fake-terminal.ts';
import 'zod';

describe('parseCommandLine', () => {
  it('serves when no command is named, with all arguments', () => {
    for (const args of [[], ['--config', 'a.yaml'], ['--disable-cache=true', 'verify']]) {
      const request = parseCommandLine(args, COMMANDS);
      expect(request).to.deep.include({ kind: 'run', args });
      expect(request).to.have.nested.property('row.name', 'serve');
    }
  });

  it('passes the arguments after its name to a command', () => {
    const request = parseCommandLine(['serve', '--config', 'a.yaml'], COMMANDS);
    expect(request).to.deep.include({ kind: 'run', args: ['--config', 'a.yaml'] });
  });

  it('shows help and version in place of any other action', () => {
    expect(parseCommandLine(['--help', '--log-level', 'x'], COMMANDS)).to.deep.equal({ kind: 'help' });
    expect(parseCommandLine(['-h', '--nonsense'], COMMANDS)).to.deep.equal({ kind: 'help' });
    expect(parseCommandLine(['help'], COMMANDS)).to.deep.equal({ kind: 'help' });
    expect(parseCommandLine(['--version'], COMMANDS)).to.deep.equal({ kind: 'version' });
    expect(parseCommandLine(['serve', '--', '--version'], COMMANDS)).to.include({ kind: 'run' });
  });

  for (const { name } of COMMANDS) {
    it(`has help for ${name} by either of two ways`, () => {
      for (const args of [
        ['help', name],
        [name, '--help'],
        [name, '--nonsense', '-h'],
      ]) {
        const request = parseCommandLine(args, COMMANDS);
        expect(request.kind).to.equal('help');
        expect(request).to.have.nested.property('row.name', name);
      }
    });
  }
});

describe('asksToServe', () => {
  for (const args of [
    [],
    ['serve'],
    ['--config', 'a.yaml'],
    ['serve', '--nonsense'],
    ['-x'],
    ['--', '--help'],
    ['serve', '--', '-h'],
    ['--help'],
    ['serve', '-h'],
    ['--config', 'a.yaml', '--version'],
    ['verify', '/cache'],
    ['help'],
    ['help', 'serve'],
    ['verify', '--help'],
  ]) {
    it(`knows what the command line makes of ${args.join(' ') || 'nothing'}`, () => {
      const request = parseCommandLine(args, COMMANDS);
      expect(asksToServe(args)).to.equal(request.kind === 'run' && request.row.name === 'serve');
    });
  }
});

describe('runCommandLine', () => {
  let terminal: FakeTerminal;
  beforeEach(() => {
    terminal = new FakeTerminal();
  });

  it('prints help and version as a result', async () => {
    expect(await runCommandLine(['--version'], terminal, COMMANDS)).to.equal(0);
    expect(terminal.stdout.text).to.equal('1.2.3\n');
    expect(await runCommandLine(['--help'], terminal, COMMANDS)).to.equal(0);
    for (const { name, summary } of COMMANDS) {
      expect(terminal.stdout.text.replaceAll(/\s+/g, ' ')).to.include(`${name} ${summary}`);
    }
    expect(await runCommandLine(['help', 'serve'], terminal, COMMANDS)).to.equal(0);
    expect(terminal.stdout.text).to.include('Usage: registry-packages-proxy [serve] [flags]\n');
    expect(terminal.stderr.text).to.equal('');
  });

  for (const [args, complaint] of [
    [['--nonsense'], 'there is no flag --nonsense\nSee --help.\n'],
    [['serve', '--log-leval', 'x'], 'there is no flag --log-leval, did you mean --log-level?\nSee serve --help.\n'],
    [['--config'], "Option '--config <value>' argument missing\nSee --help.\n"],
    [['--disable-cache=yes'], "Option '--disable-cache' does not take an argument\nSee --help.\n"],
    [['swerve'], 'there is no command swerve, did you mean serve?\nSee --help.\n'],
    [['help', 'me'], 'there is no command me\nSee --help.\n'],
    [['serve', 'cache'], 'unexpected argument "cache"\nSee serve --help.\n'],
    [['my.yaml'], 'there is no command my.yaml, did you mean --config my.yaml?\nSee --help.\n'],
    ...(
      [
        ['serve', 'my.yaml', 'config'],
        ['check-config', './my.yml', 'config'],
        ['check-config', '/etc/settings', 'config'],
        ['explain', 'sha256:0f5c', 'digest'],
        ['explain', 'http://127.0.0.1:5080', 'url'],
        ['top', 'https://master-0:4219', 'url'],
        ['top', '3', 'count'],
        ['prefetch', 'packages.txt', 'list'],
        ['mirror', 'images_digests.json', 'list'],
        ['mirror', 'images.tar', 'from'],
        ['mirror', '/media/mirror', 'output'],
      ] as const
    ).map(([name, argument, flag]): [string[], string] => [
      [name, argument],
      `unexpected argument "${argument}", did you mean --${flag} ${argument}?\nSee ${name} --help.\n`,
    ]),
    [['--config', 'nowhere.yaml'], 'nowhere.yaml: cannot be read (ENOENT)\n'],
  ] as const) {
    it(`refuses ${args.join(' ')}`, async () => {
      expect(await runCommandLine(args, terminal, COMMANDS)).to.equal(1);
      expect(terminal.stderr.text).to.equal(complaint);
      expect(terminal.stdout.text).to.equal('');
    });
  }
});

describe('help', () => {
  it('lists each command and the exit codes', () => {
    const text = programHelp(COMMANDS);
    for (const { name } of COMMANDS) expect(text).to.match(new RegExp(`^  ${name} +\\w`, 'm'));
    expect(text).to.match(/Exit status:\n {2}0 +done\n/);
  });

  for (const row of COMMANDS) {
    it(`of ${row.name} explains its flags and teaches by examples, in lines that fit`, async () => {
      const command = await row.load();
      const text = commandHelp(row, command);
      for (const flag of Object.keys(command.flags))
        expect(text).to.match(new RegExp(`^  --${flag}( [A-Z:]+)?  +\\S`, 'm'));
      expect(text).to.match(/^Examples:\n {2}# .+\n {2}registry-packages-proxy \S/m);
      expect(text).to.match(/^Exit status:\n {2}0 /m);
      expect(text.split('\n').filter((line) => line.length > 80 && !line.startsWith('  registry'))).to.deep.equal([]);
    });
  }
});
