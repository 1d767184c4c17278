/** docs/upgrade.md lists how the service differs from the Go implementation; a test has seen each difference. */
import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { tableBehind } from '../support/markdown-table.ts';

const ROOT = join(import.meta.dirname, '../..');

/** The file and the title of a test by the first cell of the row. */
const TESTS: Readonly<Record<string, readonly [file: string, title: string]>> = {
  'any `digest` is tried': ['process/service', 'refuses invalid requests without a request to a registry'],
  '`repository` that is not known: 500': [
    'process/cluster-credentials',
    'is alive but not ready before the first list',
  ],
  'all failures of a registry: 500 with its URL': [
    'unit/adapters/http/app',
    'answers ${String(status)} "${body}" to a ${error.name}',
  ],
  'of a repeated parameter the first counts; `//package` is a 301': [
    'process/service',
    'refuses invalid requests without a request to a registry',
  ],
  'wrong bytes end like right ones': [
    'process/service',
    'never completes a package with wrong bytes, and does not cache it',
  ],
  '`Content-Type: application/x-gzip` for all': [
    'unit/adapters/http/app',
    'keeps the type of a layer that is not gzip',
  ],
  '`Cache-Control: public`': ['unit/adapters/http/app', 'answers with the bytes and all headers'],
  'no ranges, no conditions': ['unit/adapters/http/app', 'answers 206 with exactly the requested bytes'],
  'HEAD is a 403 at port 4219': ['e2e/cluster', 'answers HEAD through the sidecar to clients with the right to fetch'],
  'port 4282: any failure to open it ends the process': [
    'process/bootstrap-port',
    'serves packages while another process holds that port, and is not ready',
  ],
  '`/rpp-get` without a UUID is served to any machine': [
    'process/bootstrap-port',
    'does not start a port for all machines without the UUID of the cluster',
  ],
  'port 4282: a connection stays open for further requests, of any number from one address': [
    'unit/adapters/bootstrap/bootstrap-listener',
    'answers 503 to the fifth request of one address',
  ],
  'port 4282: the path is decoded (`rpp%2dget`)': [
    'unit/adapters/bootstrap/bootstrap-listener',
    'answers ${String(status)} to ${what}',
  ],
  '`rpp-get` is extracted for each request, from gzip only': [
    'unit/adapters/bootstrap/bootstrap-listener',
    'answers a hundred nodes from one download',
  ],
  'an icon of the latest version is cached for a year': [
    'unit/adapters/http/icons/icon-route',
    'of the latest version, with headers that allow revalidation and prevent scripts',
  ],
  'an SVG icon may run scripts where it is opened by itself': [
    'unit/adapters/http/icons/icon-route',
    'of the latest version, with headers that allow revalidation and prevent scripts',
  ],
  'an icon is looked for at `<package>/version:<tag>`, or at `<package>:<tag>` by the documentation': [
    'unit/adapters/http/icons/icon-route',
    'from the repository of the package itself if there is no repository of versions',
  ],
  'the whole image is unpacked for each icon, by gzip only': [
    'unit/application/icon-of-layers',
    'reads no layer below the deciding one, and none twice',
  ],
  'an icon of an image whose layers are not those of its manifest': [
    'process/icons',
    'that are forged are refused before the first byte, and are counted',
  ],
  'icons of a PackageRepository with a docker config without accounts (`{"auths":{}}`): 404': [
    'unit/adapters/kubernetes/kubernetes-credential-provider',
    'anonymously with a docker config without accounts',
  ],
  'icons before the API server has answered: 404': [
    'unit/adapters/http/icons/icon-route',
    '${what} by ${error.code}${version === undefined ? ',
  ],
  'the right to fetch is a Role on the subresource `http` of the Deployment': [
    'e2e/resource-permissions',
    'are allowed only to the clients of each path',
  ],
  '`scheme: http` turns TLS checks off, https falls back to http': [
    'unit/adapters/registry/oci-registry-gateway',
    'uses the configured scheme, and no other',
  ],
  'a CA that cannot be read is ignored': [
    'unit/adapters/kubernetes/kubernetes-credential-provider',
    'keeps the previous state of a ModuleSource when its ${field} is broken, and does not affect others',
  ],
  'two ModuleSources with one `repo`: the last change counts': [
    'unit/adapters/kubernetes/kubernetes-credential-provider',
    'uses the older of two objects with one repo, reports this once, and uses the other when the older is deleted',
  ],
  'changes of `registry-image-address` and `registry-storage-access` are missed while the watch is broken': [
    'e2e/cluster-registry',
    'sends the account of the upstream to no server while the ConfigMap exists, after any failure',
  ],
  'the CA of the registry agent is trusted beside the default roots': [
    'unit/adapters/registry/oci-registry-gateway',
    'with the default roots and its CA for the store, and only its CA for the agent',
  ],
  "a package of any repository comes from the store's `system/deckhouse`": [
    'e2e/cluster-registry',
    'is dialled in the same way for ModuleSources of this registry only',
  ],
  '30 MiB of memory': ['e2e/memory-limits', 'no container is killed while as many clients read ${size} slowly'],
  'a volume of 1 GB for 1 GiB': ['e2e/chart', 'writes settings that the service accepts, with ci/${values}'],
  'probes through the sidecar': [
    'e2e/chart',
    'has no probe that restarts the service for a fault of the sidecar, with ci/${values}',
  ],
  'one metric': ['process/metrics', 'are exactly those of the README, with the same labels'],
  'each request for an icon reads its PackageRepository from the API server': [
    'unit/adapters/kubernetes/kubernetes-credential-provider',
    'by the names of their objects, and follows their creation, change and deletion',
  ],
  'the token Secret goes with the module': [
    'e2e/kept-objects',
    'keeps the token of nodes through upgrades, its removal from the values, the removal of the release and the next installation',
  ],
  'signatures in annotations are verified in some builds, and a failure is only logged': [
    'unit/application/resolve-signed-package',
    'refuses an image whose signature is ${kind}, and its manifest',
  ],
};

describe('docs/upgrade.md', () => {
  const page = readFileSync(join(ROOT, 'docs/upgrade.md'), 'utf8');
  const rows = ['clients', 'operators'].flatMap((readers) =>
    tableBehind(`Differences for ${readers}`, page.replaceAll('### ', '## ')),
  );

  it('lists exactly the differences from the Go implementation for which this file names a test', () => {
    expect(rows.map(([before = '']) => before)).to.have.members(Object.keys(TESTS));
  });

  for (const [before, [file, title]] of Object.entries(TESTS)) {
    it(`has a test for the difference from "${before}"`, () => {
      const source = readFileSync(join(ROOT, 'test', `${file}.test.ts`), 'utf8');
      expect(source.replaceAll("\\'", "'")).to.match(new RegExp(`\\bit\\(\\s*['"\`]${RegExp.escape(title)}`));
    });
  }
});
