import { expect } from 'chai';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CommandFailure, UsageError } from '../../../../src/adapters/cli/command.ts';
import { PREFETCH } from '../../../../src/infrastructure/commands/prefetch.ts';
import { FakeTerminal } from '../../../support/fake-terminal.ts';
import { makePackage } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

describe('prefetch', () => {
  const directory = mkdtempSync(join(tmpdir(), 'prefetch-'));
  const [PACKAGES, NO_CACHE] = [join(directory, 'packages.txt'), join(directory, 'no-cache.yaml')];
  before(() => {
    writeFileSync(PACKAGES, makePackage(1).digest);
    writeFileSync(NO_CACHE, 'store:\n  enabled: false\n');
  });
  after(() => {
    rmSync(directory, { recursive: true });
  });

  const refusal = (...args: readonly string[]) => rejection(PREFETCH.run(args, new FakeTerminal()));

  for (const [what, flags, message] of [
    ['no list', ['--url', 'http://a'], '--list is missing'],
    ['a repository that is none', ['--list', PACKAGES, '--repository', 'a..b'], '--repository: repository must be'],
    ['a path that is none', ['--list', PACKAGES, '--path', 'UPPER'], '--path: path must be'],
    ['a token over plain HTTP', ['--list', PACKAGES, '--url', 'http://a', '--token-file', 'f'], 'needs https'],
    [
      'settings beside a URL',
      ['--list', PACKAGES, '--url', 'http://a', '--config', 'f'],
      '--config cannot be used with --url',
    ],
    ['a token for no service', ['--list', PACKAGES, '--token-file', 'f'], '--token-file needs --url'],
    ['a URL with a path', ['--list', PACKAGES, '--url', 'http://a/package'], '--url must be http://HOST:PORT'],
    ['a URL with a password', ['--list', PACKAGES, '--url', 'http://u:p@a'], '--url must be http://HOST:PORT'],
    ['another scheme', ['--list', PACKAGES, '--url', 'file:///a'], '--url must be http://HOST:PORT'],
  ] as const) {
    it(`does not take ${what}`, async () => {
      const error = await refusal(...flags);
      expect(error).to.be.instanceOf(UsageError);
      expect(error.message).to.include(message);
    });
  }

  it('reports a file that it cannot read', async () => {
    const list = await refusal('--list', '/nowhere/list', '--url', 'http://a');
    expect(list).to.be.instanceOf(CommandFailure);
    expect(list.message).to.match(/^\/nowhere\/list: cannot be read \(ENOENT\)$/);
    const token = await refusal('--list', PACKAGES, '--url', 'https://a', '--token-file', '/nowhere/token');
    expect(token).to.be.instanceOf(CommandFailure);
    expect(token.message).to.match(/^--token-file \/nowhere\/token: cannot be read \(ENOENT\)$/);
  });

  it('does not fill a cache that is switched off', async () => {
    const error = await refusal('--list', PACKAGES, '--config', NO_CACHE);
    expect(error).to.be.instanceOf(CommandFailure);
    expect(error.message).to.equal('store.enabled is false: there is no cache to fill');
  });
});
