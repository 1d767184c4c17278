import { expect } from 'chai';
import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { parseQuantity } from '../../src/domain/quantity.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makePackage, type TestImage } from '../support/image.ts';
import { MemoryCgroup } from '../support/memory-cgroup.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { applyObject, containerOf, namespaceObject, renderChart } from '../support/peers/chart.ts';
import { Cluster, NAMESPACE, USERS } from '../support/peers/cluster.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { CA } from '../support/tls/certificates.ts';

const MIB = 1024 * 1024;
const READERS = 1000;
/** Longer than the time that a request waits for its slot. */
const SECONDS = 10;
const CONNECTING_AT_ONCE = 50;

interface Limited {
  readonly resources: { readonly limits: { readonly memory: string } };
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
}

describeWithAll(['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'helm'], (programs) => {
  describe(`within the memory limits of the chart for ${String(READERS)} nodes`, function () {
    this.timeout(120_000);
    let cluster: Cluster;
    let registry: FakeRegistry;
    let service: ServiceProcess;
    let port: number;
    const limits = new Map<string, number>();
    const groups = new Map<string, MemoryCgroup>();
    // The first image waits for a slot in the service, and the second one fills the send buffers of the sidecar.
    const images = [makePackage(64 * MIB, 1), makePackage(4 * MIB, 2)];

    before(async function () {
      const chart = await renderChart(programs.helm, '--set', `expectedClients=${String(READERS)}`);
      const environment: Record<string, string> = {};
      for (const name of ['proxy', 'kube-rbac-proxy']) {
        const { resources, env = [] } = containerOf(chart, name) as unknown as Limited;
        const limit = parseQuantity(resources.limits.memory) ?? 0;
        const group = MemoryCgroup.create(limit);
        if (group === undefined) this.skip();
        groups.set(name, group);
        limits.set(name, limit);
        for (const { name: variable, value } of env) if (value !== undefined) environment[variable] = value;
      }
      cluster = await Cluster.start(programs);
      for (const name of [NAMESPACE, 'd8-system']) await applyObject(cluster.as('admin'), namespaceObject(name));
      for (const object of chart)
        if (/Role|ServiceAccount/.test(object.kind)) await applyObject(cluster.as('admin'), object);
      registry = await FakeRegistry.start();
      registry.publish(...images);
      const repo = `${registry.host}/a`;
      service = await ServiceProcess.start({
        settings: { credentials: { registries: [{ repo, default: true, scheme: 'HTTP' }] } },
        wrapper: groups.get('proxy')?.wrapper ?? [],
      });
      const wrapper = groups.get('kube-rbac-proxy')?.wrapper ?? [];
      const { args } = containerOf(chart, 'kube-rbac-proxy');
      ({ port } = await cluster.guard(service.port, args, { wrapper, environment }));
    });
    after(async () => {
      if (groups.size < 2) {
        for (const group of groups.values()) group.remove();
        return;
      }
      await service.close();
      await registry.close();
      await cluster.close();
      for (const group of groups.values()) group.remove();
    });

    /** Takes one record of TLS, of 16 KiB, each time that it is resumed. */
    async function startReader({ digest }: TestImage, onStatus: (status: string) => void): Promise<TLSSocket> {
      const socket = connect({ host: '127.0.0.1', port, ca: CA });
      await once(socket, 'secureConnect');
      socket.on('error', () => undefined);
      socket.once('data', (head: Buffer) => {
        onStatus(head.toString('latin1', 9, 12));
      });
      socket.on('data', () => socket.pause());
      const lines = [`GET /package?digest=${digest} HTTP/1.1`, 'Host: a', `Authorization: Bearer ${USERS.node.token}`];
      socket.write(`${lines.join('\r\n')}\r\n\r\n`);
      return socket;
    }

    for (const image of images) {
      const size = `${String(image.layer.bytes.byteLength / MIB)} MiB`;
      it(`no container is killed while as many clients read ${size} slowly`, async () => {
        const { statusCode } = await service.client('package', {
          searchParams: { digest: image.digest },
          responseType: 'buffer',
        });
        expect(statusCode).to.equal(200);
        const readers: TLSSocket[] = [];
        const statuses: string[] = [];
        const start = (): Promise<TLSSocket> => startReader(image, (status) => statuses.push(status));
        while (readers.length < READERS) {
          readers.push(...(await Promise.all(Array.from({ length: CONNECTING_AT_ONCE }, start))));
        }
        for (let second = 0; second < SECONDS; second++) {
          await new Promise((resolve) => setTimeout(resolve, 1000));
          for (const reader of readers) reader.resume();
        }
        for (const reader of readers) reader.destroy();
        // A request without a slot gets 503 with Retry-After.
        expect(statuses).to.have.lengthOf(READERS).and.to.include('200');
        expect(new Set([...statuses, '200', '503'])).to.have.property('size', 2);
        for (const [name, group] of groups) {
          expect(group.kills(), name).to.equal(0);
          expect(group.peakBytes(), name).to.be.below(Number(limits.get(name)));
        }
        expect((await service.client('healthz')).statusCode).to.equal(200);
      });
    }
  });
});
