import { expect } from 'chai';
import { X509Certificate } from 'node:crypto';
import { hasEmbeddedScts, leadsToRoot } from '../../../../src/adapters/signatures/certificate-chain.ts';
import { certify, type Certified } from '../../../support/signing.ts';

const at = (year: number): Date => new Date(Date.UTC(year, 0));
const read = ({ pem }: Certified): X509Certificate => new X509Certificate(pem);
const leads = (leaf: Certified, between: readonly Certified[], roots: readonly Certified[]): boolean =>
  leadsToRoot(read(leaf), between.map(read), roots.map(read));

const root = certify({ name: 'root', isCa: true });
const stranger = certify({ name: 'stranger', isCa: true });
const between = certify({ name: 'between', isCa: true, issuer: root });
const leaf = certify({ name: 'signer', issuer: between });

describe('a chain of certificates', () => {
  it('leads to a root, directly or through others, in any order', () => {
    expect(leads(certify({ name: 'signer', issuer: root }), [], [stranger, root])).to.equal(true);
    expect(leads(leaf, [between], [root])).to.equal(true);
    const deeper = certify({ name: 'deeper', isCa: true, issuer: between });
    const signer = certify({ name: 'signer', issuer: deeper });
    expect(leads(signer, [root, stranger, between, deeper], [root])).to.equal(true);
  });

  it('leads to no root of the same name, and to none without the certificates between', () => {
    expect(leads(leaf, [between], [certify({ name: 'root', isCa: true })])).to.equal(false);
    expect(leads(leaf, [], [root])).to.equal(false);
    expect(leads(leaf, [stranger], [root])).to.equal(false);
    expect(leads(leaf, [between], [])).to.equal(false);
  });

  it('leads through no certificate that must not issue others', () => {
    const plain = certify({ name: 'plain', issuer: root });
    expect(leads(certify({ name: 'signer', issuer: plain }), [plain], [root])).to.equal(false);
  });

  it('has at most the length that its certificates allow', () => {
    const short = certify({ name: 'short', isCa: true, pathLength: 0 });
    expect(leads(certify({ name: 'signer', issuer: short }), [], [short])).to.equal(true);
    const below = certify({ name: 'below', isCa: true, issuer: short });
    expect(leads(certify({ name: 'signer', issuer: below }), [below], [short])).to.equal(false);
    let issuer = root;
    const many = Array.from(
      { length: 9 },
      (_, depth) => (issuer = certify({ name: `ca-${String(depth)}`, isCa: true, issuer })),
    );
    expect(leads(certify({ name: 'signer', issuer }), many, [root])).to.equal(false);
  });

  it('ends when certificates issue one another', () => {
    const one = certify({ name: 'one', isCa: true });
    const two = certify({ name: 'two', isCa: true, issuer: one });
    expect(leads(certify({ name: 'signer', issuer: two }), [one, two, two, one], [root])).to.equal(false);
  });

  it('accepts a signer whose certificate has expired, and no issuer that expired before the certificate was valid', () => {
    expect(leads(certify({ name: 'signer', issuer: root, from: at(2021), to: at(2022) }), [], [root])).to.equal(true);
    const ended = certify({ name: 'root', isCa: true, from: at(2010), to: at(2020) });
    expect(leads(certify({ name: 'signer', issuer: ended, from: at(2019) }), [], [ended])).to.equal(true);
    expect(leads(certify({ name: 'signer', issuer: ended, from: at(2021) }), [], [ended])).to.equal(false);
    const late = certify({ name: 'late', isCa: true, issuer: root, from: at(2030) });
    expect(leads(certify({ name: 'signer', issuer: late, from: at(2021) }), [late], [root])).to.equal(false);
  });

  it('recognizes certificates for certificate transparency', () => {
    expect(hasEmbeddedScts(read(leaf))).to.equal(false);
    expect(hasEmbeddedScts(read(certify({ name: 'signer', issuer: root, hasScts: true })))).to.equal(true);
  });
});
