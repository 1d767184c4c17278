import { expect } from 'chai';
import { FakeRegistry, PASSWORD, type Script, USERNAME } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { ServiceProcess } from '../support/service-process.ts';

const image = makePackage(300_000);

/** A fault of the registry, the code of the failure, and its cause in the log and in `/explain`. */
const CAUSES: readonly (readonly [what: string, script: Script, code: string, cause: string])[] = [
  [
    'is another server, which answers 404 by a page',
    (_, response) => {
      response.writeHead(404, { 'content-type': 'text/html; charset=utf-8' }).end('<html>404 Not Found</html>');
      return true;
    },
    'MANIFEST_UNKNOWN',
    'manifest from HOST: status 404 (a page of HTML: is this a registry?)',
  ],
  [
    'is an API server, which answers 401 without a challenge',
    (_, response) => {
      response.writeHead(401, { 'content-type': 'application/json' }).end('{"kind":"Status","code":401}');
      return true;
    },
    'UPSTREAM_DENIED',
    'token from HOST: status 401 without a challenge that is supported: is this a registry?',
  ],
  [
    'refuses the tokens that it leads to',
    ({ headers, url }, response) => {
      if (url.startsWith('/token') || headers.authorization === undefined) return false;
      response.writeHead(401, { 'www-authenticate': `Bearer realm="http://${String(headers.host)}/token"` });
      response.end('{"errors":[{"code":"UNAUTHORIZED"}]}');
      return true;
    },
    'UPSTREAM_DENIED',
    'manifest from HOST: status 401 UNAUTHORIZED (to a new token from its token server)',
  ],
  [
    'falls silent in the middle of a layer',
    ({ url }, response) => {
      if (!url.includes('/blobs/')) return false;
      response.writeHead(200, { 'content-length': image.layer.bytes.byteLength });
      response.write(image.layer.bytes.subarray(0, 65_000));
      return true;
    },
    'UPSTREAM_TIMEOUT',
    'blob from HOST: the answer began, but the rest did not come in time (ERR_IDLE)',
  ],
];

describe('the cause of a failure of a registry', () => {
  for (const [what, script, code, cause] of CAUSES) {
    it(`is told when it ${what}`, async () => {
      const registry = await FakeRegistry.start({ auth: what.includes('tokens') ? 'bearer' : 'anonymous' });
      registry.publish(image);
      registry.script(script);
      const account = { username: USERNAME, password: PASSWORD };
      const service = await ServiceProcess.start({
        settings: {
          registry: { timeouts: { idleSeconds: 0.2, retrySeconds: 0 } },
          credentials: { registries: [{ repo: `${registry.host}/a`, default: true, scheme: 'HTTP', ...account }] },
        },
      });
      await service.client(`package?digest=${image.digest}`).catch(() => undefined);
      const { err } = await service.logged('request', { route: '/package' });
      const told = cause.replace('HOST', registry.host);
      expect(err)
        .to.include({ code })
        .and.to.have.property('causes')
        .that.deep.equals([`UpstreamFault: ${told}`]);
      const { verdict } = await service.client(`explain?digest=${image.digest}`).json<{ verdict: object }>();
      expect(verdict).to.include({ code, cause: told });
      await service.close();
      await registry.close();
    }).timeout(30_000);
  }
});
