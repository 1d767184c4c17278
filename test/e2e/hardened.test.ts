import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import got, { type Got } from 'got';
import { parse } from 'yaml';
import { CertificateAuthority } from '../../src/adapters/cli/certificate.ts';
import { eventually } from '../support/eventually.ts';
import { makePackage } from '../support/image.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import {
  applyObject,
  containerOf,
  type KubernetesObject,
  namespaceObject,
  renderChart,
  settingsOf,
} from '../support/peers/chart.ts';
import { Cluster, NAMESPACE, USERS } from '../support/peers/cluster.ts';
import { runProgram } from '../support/program.ts';
import { rejection } from '../support/rejection.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { CA } from '../support/tls/certificates.ts';

const run = promisify(execFile);
const SCRIPT = join(import.meta.dirname, '../../examples/fetch-package.sh');
const FORGED = 'the bytes of a squatter';

describeWithAll(['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'helm'], (programs) => {
  describe('the loopback port', () => {
    const image = makePackage(1000);
    let cluster: Cluster;
    let home: string;
    before(async () => {
      cluster = await Cluster.start(programs);
      home = await mkdtemp(join(tmpdir(), 'hardened-'));
      for (const name of [NAMESPACE, 'd8-system']) await applyObject(cluster.as('admin'), namespaceObject(name));
      for (const object of await renderChart(programs.helm)) {
        if (/Role|ServiceAccount/.test(object.kind)) await applyObject(cluster.as('admin'), object);
      }
    });
    after(async () => {
      await cluster.close();
      await rm(home, { recursive: true });
    });

    const through = ({ port }: { readonly port: number }): Got =>
      got.extend({
        prefixUrl: `https://127.0.0.1:${String(port)}`,
        headers: { authorization: `Bearer ${USERS.node.token}` },
        https: { certificateAuthority: CA },
        retry: { limit: 0 },
        throwHttpErrors: false,
      });
    const query = `package?digest=${image.digest}`;

    /** The service and the sidecar of the chart's pod, each with the volume that it mounts. */
    async function startPod(
      chart: KubernetesObject[],
    ): Promise<{ service: ServiceProcess; sidecar: Got; port: number }> {
      const settings = parse(mounted(settingsOf(chart), 'loopback-service')) as { store: object };
      const service = await ServiceProcess.start({
        settings: { ...settings, store: { ...settings.store, directory: 'cache' } },
        flags: ['--kubeconfig', await cluster.kubeconfig('service')],
      });
      const args = containerOf(chart, 'kube-rbac-proxy').args.map((arg) => mounted(arg, 'loopback-sidecar'));
      const guard = await cluster.guard(service.port, args);
      return { service, sidecar: through(guard), port: guard.port };
    }
    const mounted = (text: string, volume: string): string => text.replaceAll('/etc/loopback', join(home, volume));

    async function makeKeys(): Promise<void> {
      for (const volume of ['loopback-service', 'loopback-sidecar'])
        await mkdir(join(home, volume), { recursive: true });
      const keys = ['--service', join(home, 'loopback-service'), '--sidecar', join(home, 'loopback-sidecar')];
      expect((await runProgram('loopback-keys', ...keys)).code).to.equal(0);
    }

    /** Listens on the port of the ended service as another process of the master; resolves with the number of its requests. */
    async function squat(port: number, server: Server, action: () => Promise<void>): Promise<number> {
      let requests = 0;
      server.on('request', (_request, response) => {
        requests += 1;
        response.end(FORGED);
      });
      await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
      try {
        await action();
      } finally {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
      return requests;
    }

    describe('that is hardened', () => {
      let service: ServiceProcess;
      let sidecar: Got;
      before(async () => {
        await makeKeys();
        ({ service, sidecar } = await startPod(await renderChart(programs.helm, '--set', 'loopback=hardened')));
      });
      after(() => service.close());

      it('serves its sidecar', async () => {
        await eventually(async () => {
          // There is no Secret of a default registry here.
          expect((await sidecar(query)).body).to.include('no default registry is configured');
        });
      });

      it('answers the probes of a kubelet without a certificate, and no other request', async () => {
        const kubelet = got.extend({
          prefixUrl: `https://127.0.0.1:${String(service.port)}`,
          https: { certificateAuthority: await readFile(join(home, 'loopback-service/ca.crt')) },
          retry: { limit: 0 },
          throwHttpErrors: false,
        });
        expect((await kubelet('healthz')).body).to.equal('ok');
        expect((await kubelet('readyz')).body).to.equal('ok');
        for (const path of [query, 'metrics', 'status', 'explain']) {
          expect((await kubelet(path)).statusCode, path).to.equal(403);
        }
        await rejection(got(`http://127.0.0.1:${String(service.port)}/healthz`, { retry: { limit: 0 } }));
      });

      it('answers explain with the keys of its container', async () => {
        const url = `https://127.0.0.1:${String(service.port)}`;
        const args = ['explain', '--url', url, '--digest', image.digest];
        const { stdout, code } = await runProgram(...args, '--keys', join(home, 'loopback-service'));
        expect(stdout).to.include('no default registry is configured');
        expect(code).to.equal(2);
        expect((await runProgram(...args)).code).to.equal(1);
      });

      it('counts refused connections', async () => {
        const metrics = got(`https://127.0.0.1:${String(service.port)}/metrics`, {
          https: {
            certificateAuthority: await readFile(join(home, 'loopback-service/ca.crt')),
            certificate: await readFile(join(home, 'loopback-sidecar/client.crt')),
            key: await readFile(join(home, 'loopback-sidecar/client.key')),
          },
        });
        expect(await metrics.text()).to.match(/loopback_refused_total\{reason="anonymous"\} [1-9]/);
        expect((await service.logged('clients of the loopback port refused'))['refused']).to.be.an('object');
      });

      it('delivers nothing to a node from another process that listens on the port', async () => {
        const { port } = service;
        await service.end();
        const refused = async (): Promise<void> => {
          const { statusCode, body } = await sidecar(query);
          expect(statusCode).to.equal(502);
          expect(body).not.to.include(FORGED);
        };
        const foreign = new CertificateAuthority('registry-packages-proxy-loopback');
        const { certificate: cert, key } = foreign.issue('registry-packages-proxy', {
          usage: 'server',
          address: '127.0.0.1',
        });
        // The CA has signed the sidecar's own certificate, too, but for a client.
        const [sidecarCert, sidecarKey] = await Promise.all(
          ['client.crt', 'client.key'].map((name) => readFile(join(home, 'loopback-sidecar', name))),
        );
        const squatters = [
          createServer(),
          createSecureServer({ cert, key }),
          createSecureServer({ cert: sidecarCert, key: sidecarKey }),
        ];
        for (const squatter of squatters) expect(await squat(port, squatter, refused)).to.equal(0);
      });
    });

    describe('that is plain', () => {
      it('forwards the answer of another process that listens on the port, and the node refuses it', async () => {
        const { service, sidecar, port } = await startPod(await renderChart(programs.helm));
        await service.end();
        const output = join(home, 'package');
        await squat(service.port, createServer(), async () => {
          expect((await sidecar(query)).body).to.equal(FORGED);
          const error = await rejection(
            run(SCRIPT, [image.digest, output, '', ''], {
              env: {
                ...process.env,
                PACKAGES_PROXY_ADDRESSES: `127.0.0.1:${String(port)}`,
                PACKAGES_PROXY_SCHEME: 'https',
                PACKAGES_PROXY_CA: cluster.certificates.ca,
                PACKAGES_PROXY_TOKEN: USERS.node.token,
                PACKAGES_PROXY_ATTEMPTS: '1',
              },
            }),
          );
          expect(error.message).to.match(/manifest|digest|sha256/i);
        });
        await rejection(access(output));
        await service.close();
      });
    });
  });
});
