import { expect } from 'chai';
import { createServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import { CertificateAuthority } from '../../../../src/adapters/cli/certificate.ts';
import { parseUpstream } from '../../../../src/domain/upstream.ts';
import { makePackage } from '../../../support/image.ts';
import { makeRegistryGateway } from '../../../support/registry-gateway.ts';
import { rejection } from '../../../support/rejection.ts';
import { CA, serverCertificate } from '../../../support/tls/certificates.ts';

const authority = new CertificateAuthority('a');
const { certificate: cert, key } = authority.issue('localhost', { usage: 'client' });
const forClients: ServerOptions = { cert, key };

describe('the cause of a handshake that fails', () => {
  const clients: ServerOptions = { requestCert: true, rejectUnauthorized: true, ca: CA };
  for (const [what, options, cause] of [
    [
      'the host wants a client certificate',
      clients,
      /host wants a client certificate, which this service does not have \(ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED\)$/,
    ],
    [
      'it does so in TLS 1.2',
      { ...clients, maxVersion: 'TLSv1.2' },
      /host accepts no cipher or certificate of this side \(ERR_SSL_\S+_HANDSHAKE_FAILURE\)$/,
    ],
    [
      'the certificate of the host is one for clients',
      forClients,
      /certificate or its CA is not for servers, by the extended key usage \(INVALID_PURPOSE\)$/,
    ],
    [
      'the host speaks TLS 1.1',
      { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' },
      /host does not support TLS 1\.2 or later \(ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION\)$/,
    ],
    [
      'the host has old ciphers only',
      { maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA@SECLEVEL=0' },
      /host accepts no cipher or certificate of this side \(ERR_SSL_\S+_HANDSHAKE_FAILURE\)$/,
    ],
  ] as const) {
    it(`explains that ${what}`, async () => {
      const server = createServer({ ...serverCertificate('localhost'), ...options }, (_, response) => response.end());
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const { port } = server.address() as AddressInfo;
      const upstream = parseUpstream({ repo: `localhost:${String(port)}/a`, ca: CA + authority.certificate });
      const { digest } = makePackage(1);
      const error = await rejection(
        makeRegistryGateway({ retryTimeoutMs: 0 }).fetchManifest(upstream, digest, new AbortController().signal),
      );
      expect(error.cause).to.be.instanceOf(Error).and.to.have.property('message').that.matches(cause);
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
  }
});
