import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { certificateMetrics } from '../../../../src/adapters/prometheus/service-metrics.ts';
import { CertificateAuthority } from '../../../../src/adapters/cli/certificate.ts';
import { CA, ISSUING_CA, SECOND_ROOT, serverCertificate, serverChain } from '../../../support/tls/certificates.ts';

/** The time that stands for no end. */
const NEVER = 253402300799;

describe('certificateMetrics', () => {
  let home: string;
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'certificates-'));
  });
  afterEach(() => rm(home, { recursive: true }));

  async function endOf(...contents: readonly string[]): Promise<number | undefined> {
    const registry = new Registry();
    const certificate = join(home, 'file.pem');
    certificateMetrics(registry, [{ role: 'serving', certificate }]);
    let text = '';
    for (const content of contents) {
      await writeFile(certificate, content);
      text = await registry.metrics();
    }
    const value = /\{role="serving"\} (\S+)$/m.exec(text)?.[1];
    return value === undefined ? undefined : Number(value);
  }
  const unending = new CertificateAuthority('ca');
  const leaf = unending.issue('leaf', { usage: 'server' }).certificate;

  it('shows the expiry of a certificate, and of its replacement', async () => {
    expect(await endOf(leaf)).to.equal(NEVER);
    const { cert } = serverCertificate('localhost');
    expect(await endOf(leaf, cert)).to.be.within(Date.now() / 1000, NEVER - 1);
  });

  it('shows the earliest expiry of a chain, and the latest of a list of CAs', async () => {
    expect(await endOf(leaf + ISSUING_CA)).to.equal(await endOf(ISSUING_CA));
    expect(await endOf(serverChain('issued').cert)).to.be.below(NEVER);
    expect(await endOf(CA + unending.certificate + SECOND_ROOT)).to.equal(NEVER);
  });

  it('shows nothing for a missing file, a file without a certificate, or a truncated one', async () => {
    expect(await endOf()).to.equal(undefined);
    expect(await endOf('')).to.equal(undefined);
    expect(await endOf(serverCertificate('localhost').key)).to.equal(undefined);
    expect(await endOf('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')).to.equal(undefined);
    expect(await endOf(leaf.slice(0, 200))).to.equal(undefined);
  });
});
