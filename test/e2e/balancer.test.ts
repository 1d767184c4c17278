import { expect } from 'chai';
import got from 'got';
import { balancers } from '../support/fronts/balancers.ts';
import { Front } from '../support/fronts/front.ts';
import { makePackage, type TestImage } from '../support/image.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { applyObject, containerOf, renderChart } from '../support/peers/chart.ts';
import { Cluster, USERS } from '../support/peers/cluster.ts';
import { PeerRegistry } from '../support/peers/peer-registry.ts';
import type { PeerProcess } from '../support/peers/process.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { CA } from '../support/tls/certificates.ts';

const MIB = 1024 * 1024;
const NODES = 6;

interface Master {
  readonly service: ServiceProcess;
  readonly sidecar: PeerProcess & { readonly port: number };
}

let masters: Master[] = [];

for (const kind of balancers(() => masters.map(({ sidecar }) => sidecar.port))) {
  describeWithAll(
    ['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'helm', 'docker-registry', ...kind.programs],
    (programs) => {
      describe(`three masters behind ${kind.name} with the configuration of examples/balancer`, () => {
        const packages = Array.from({ length: 6 }, (_, seed) => makePackage(2 * MIB, seed + 1));
        let cluster: Cluster;
        let registry: PeerRegistry;
        let front: Front;

        before(async () => {
          cluster = await Cluster.start(programs);
          const binding = {
            apiVersion: 'rbac.authorization.k8s.io/v1',
            kind: 'ClusterRoleBinding',
            metadata: { name: 'sidecar' },
            roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'system:auth-delegator' },
            subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: USERS.service.name }],
          };
          await applyObject(cluster.as('admin'), binding);
          registry = await PeerRegistry.start({ program: 'docker-registry', path: programs['docker-registry'] });
          for (const wanted of packages) await registry.publish(wanted);
          const { args } = containerOf(await renderChart(programs.helm), 'kube-rbac-proxy');
          const registries = [{ repo: registry.repo, default: true, scheme: 'HTTP' }];
          for (let index = 0; index < 3; index++) {
            const service = await ServiceProcess.start({ settings: { credentials: { registries } } });
            masters.push({ service, sidecar: await cluster.guard(service.port, args) });
          }
          front = await Front.start(kind, programs, 0);
        });
        after(async () => {
          await (front as Front | undefined)?.close();
          for (const { service } of masters) await service.close();
          masters = [];
          await (registry as PeerRegistry | undefined)?.close();
          await cluster.close();
        });

        const get = (digest: string, token: string = USERS.admin.token) =>
          got(`https://localhost:${String(front.port)}/package`, {
            // curl and Go write the digest in this form.
            searchParams: { digest },
            headers: { authorization: `Bearer ${token}` },
            https: { certificateAuthority: CA },
            dnsLookupIpVersion: 4,
            retry: { limit: 0 },
            throwHttpErrors: false,
            responseType: 'buffer',
          });

        async function expectWhole(wanted: TestImage): Promise<void> {
          const { statusCode, body } = await get(wanted.digest);
          expect(statusCode, body.subarray(0, 300).toString()).to.equal(200);
          expect(Buffer.compare(body, wanted.layer.bytes)).to.equal(0);
        }

        const downloads = (wanted: TestImage): number =>
          registry.accessLog.filter(({ url }) => url.includes(`/blobs/${wanted.layer.descriptor.digest}`)).length;

        const owners = (): number[] =>
          masters.map(
            ({ service }) => service.lines.filter(({ msg, status }) => msg === 'request' && status === 200).length,
          );

        it('download each package once for any number of nodes in the same second', async () => {
          await Promise.all(packages.flatMap((wanted) => Array.from({ length: NODES }, () => expectWhole(wanted))));
          expect(packages.map(downloads)).to.deep.equal(packages.map(() => 1));
        });

        it('share the packages among them', () => {
          expect(owners().filter((requests) => requests > 0)).to.have.length.greaterThan(1);
        });

        it('pass on 404 and 401 of a master', async () => {
          expect((await get(makePackage(1, 99).digest)).statusCode).to.equal(404);
          expect((await get(packages[0]?.digest ?? '', 'canary-unknown')).statusCode).to.equal(401);
        });

        it('serve all packages after the service of one of them is killed', async () => {
          await busiest().service.end('SIGKILL');
          for (const wanted of packages) await expectWhole(wanted);
          expect(Math.max(...packages.map(downloads))).to.be.at.most(2);
        });

        it('serve all packages while a whole master is away', async () => {
          const { sidecar, service } = busiest();
          await Promise.all([sidecar.end(), service.hasEnded ? undefined : service.end('SIGKILL')]);
          await Promise.all(packages.flatMap((wanted) => Array.from({ length: NODES }, () => expectWhole(wanted))));
        });

        /** The master that has answered most requests. */
        function busiest(): Master {
          const requests = owners();
          const master = masters[requests.indexOf(Math.max(...requests))];
          if (master === undefined) throw new Error('no master');
          return master;
        }
      });
    },
  );
}
