// Leaves global names: loaded here, they are no leak of a test that loads a command.
import 'zod';
import { expect } from 'chai';
import { commandHelp, programHelp } from '../../../../src/adapters/cli/help.ts';
import { COMMANDS } from '../../../../src/infrastructure/commands/table.ts';

describe('help', () => {
  it('has a line for each command, and the exit codes', () => {
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
