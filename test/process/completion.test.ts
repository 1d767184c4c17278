import { expect } from 'chai';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runProgram } from '../support/program.ts';

/** Programs for each shell that load the script and print the completions of their last word. */
const DRIVERS = {
  bash: `source "$1"; shift
COMP_WORDS=(registry-packages-proxy "$@") COMP_CWORD=$#
_registry_packages_proxy
printf '%s\\n' "\${COMPREPLY[@]}"`,
  fish: `source $argv[1]; complete -C "registry-packages-proxy $argv[2..]"`,
};

describe('completion', () => {
  for (const [shell, driver] of Object.entries(DRIVERS)) {
    const test = spawnSync(shell, ['-c', 'true']).status === 0 ? describe : describe.skip;

    test(`of ${shell}`, () => {
      let home = '';
      before(async () => {
        home = await mkdtemp(join(tmpdir(), 'completion-'));
        const { code, stdout } = await runProgram('completion', shell);
        expect(code).to.equal(0);
        await writeFile(join(home, 'script'), stdout);
        await writeFile(join(home, 'driver'), driver);
      });
      after(() => rm(home, { recursive: true }));

      const complete = (...words: string[]): string =>
        execFileSync(shell, [join(home, 'driver'), join(home, 'script'), ...words], {
          encoding: 'utf8',
          timeout: 8000,
          cwd: home,
          env: { ...process.env, HOME: home, XDG_CONFIG_HOME: home, XDG_DATA_HOME: home, XDG_CACHE_HOME: home },
          stdio: ['ignore', 'pipe', 'ignore'],
        }).trim();

      for (const [words, completed] of [
        [['mir'], 'mirror'],
        [['--listen'], '--listen-address'],
        [['serve', '--disa'], '--disable-cache'],
        [['mirror', '--li'], '--list'],
        [['verify', '--js'], '--json'],
        [['explain', '--tok'], '--token-file'],
        [['explain', '--ver'], '--verify'],
        [['version', '--js'], '--json'],
        [['completion', 'fi'], 'fish'],
      ] as const)
        it(`completes "${words.join(' ')}" to "${completed}"`, () => {
          const [first] = complete(...words).split('\t');
          expect(first).to.equal(completed);
        });

      it('completes files for a flag that expects a file', () => {
        expect(complete('mirror', '--list', join(home, 'scr'))).to.match(shell === 'bash' ? /^$/ : /script/);
      });
    });
  }

  it('refuses an unknown shell', async () => {
    const { code, stderr } = await runProgram('completion', 'tcsh');
    expect(code).to.equal(1);
    expect(stderr).to.include('SHELL must be one of bash, zsh, fish');
  });
});
