import { expect } from 'chai';
import fc from 'fast-check';
import { formatPlatform, parsePlatform } from '../../../src/domain/platform.ts';
import { expectLinear } from '../../support/hostile-text.ts';

const name = fc.stringMatching(/^[a-z0-9]{1,8}$/);
const platforms = fc.record({ os: name, architecture: name, variant: name }, { requiredKeys: ['os', 'architecture'] });

describe('parsePlatform', () => {
  it('reads os/architecture[/variant] and nothing else', () => {
    expect(parsePlatform('linux/arm64/v8')).to.deep.equal({ os: 'linux', architecture: 'arm64', variant: 'v8' });
    for (const text of ['', 'linux', 'linux/', 'Linux/amd64', 'linux/amd64/v1/x', 'linux-amd64']) {
      expect(parsePlatform(text), text).to.equal(undefined);
    }
  });

  it('reads back what it is made of', () => {
    fc.assert(
      fc.property(platforms, (platform) => {
        expect(parsePlatform(formatPlatform(platform))).to.deep.equal(platform);
      }),
    );
  });

  it('reads 64 KiB of anything in linear time', () => {
    expectLinear(['a', '0', '/', 'A', '-', ' '], parsePlatform);
  });
});
