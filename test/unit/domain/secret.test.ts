import { expect } from 'chai';
import { inspect } from 'node:util';
import { Secret } from '../../../src/domain/secret.ts';

describe('Secret', () => {
  it('never shows its text when it is printed', () => {
    const secret = new Secret('canary');
    const prints = [
      JSON.stringify({ secret }),
      inspect({ secret }, { showHidden: true, depth: 9 }),
      String(secret),
      JSON.stringify(Object.entries(secret)),
      JSON.stringify(structuredClone(secret)),
    ];
    expect(prints.join()).not.to.include('canary');
    expect(secret.reveal()).to.equal('canary');
  });
});
