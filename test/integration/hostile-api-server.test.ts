import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FakeKubeApi } from '../support/fake-kube-api.ts';
import { makePackage } from '../support/image.ts';
import { ServiceProcess } from '../support/service-process.ts';

/** How long each fault lasts. */
const FAULT_MS = 6000;

const FAULTS: Record<string, (api: FakeKubeApi) => void> = {
  'says 410 to every watch, as an event': (api) => (api.watchFault = 'gone'),
  'says 410 to every watch, as a status': (api) => (api.watchStatus = 410),
  'closes every watch at once': (api) => (api.watchFault = 'close'),
  'writes garbage to every watch': (api) => (api.watchFault = 'garbage'),
  'never begins to answer a watch': (api) => (api.watchFault = 'mute'),
  'never says a word in a watch': (api) => (api.watchFault = 'silence'),
  'refuses every list': (api) => (api.listStatus = 500),
  'throttles every list': (api) => (api.listStatus = 429),
  'answers every list with garbage': (api) => (api.listText = '{"items":[{"metadata":7},null]'),
  'never answers a list': (api) => (api.listText = ''),
};

describe('the service under an API server that', () => {
  let api: FakeKubeApi;
  let home: string;
  let service: ServiceProcess;
  before(async () => {
    api = await FakeKubeApi.start();
    home = await mkdtemp(join(tmpdir(), 'hostile-'));
    await writeFile(join(home, 'kubeconfig'), api.config.exportConfig());
    service = await ServiceProcess.start({
      settings: { registry: { timeouts: { retrySeconds: 0 } }, credentials: { source: 'kubernetes' } },
      flags: ['--kubeconfig', join(home, 'kubeconfig')],
    });
  });
  after(async () => {
    await service.close();
    await api.close();
    await rm(home, { recursive: true });
  });

  const { digest } = makePackage(1);
  /** 502 for a known repository, whose registry is dead, 404 for another. */
  const ask = async (repository: string): Promise<number> =>
    (await service.client(`package?${new URLSearchParams({ digest, repository }).toString()}`)).statusCode;
  async function until(repository: string, status: number, limitMs: number): Promise<void> {
    const started = performance.now();
    while ((await ask(repository)) !== status) {
      if (performance.now() - started > limitMs) throw new Error(`${repository} is not ${String(status)} in time`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  for (const [number, [what, fault]] of Object.entries(FAULTS).entries()) {
    it(`${what} lists at most once a second, keeps its registries, and follows changes again afterwards`, async () => {
      const name = `127.0.0.1:1/m${String(number)}`;
      api.putModuleSource('a', { repo: name, scheme: 'HTTP' });
      await until(name, 502, 5000);

      const started = performance.now();
      fault(api);
      // If the fault is not one of watches, a watch answers 410, so that the service lists again.
      if (api.watchFault === undefined) api.watchStatus = 410;
      api.cutWatches();
      while (performance.now() - started < FAULT_MS) {
        expect(await ask(name)).to.equal(502);
        expect((await service.client('healthz')).statusCode).to.equal(200);
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
      const lists = [...api.requests('list modulesources'), ...api.requests('list secrets')];
      expect(lists.filter((at) => at > started).length).to.be.at.most(FAULT_MS / 1000 + 2);

      api.watchFault = undefined;
      api.watchStatus = undefined;
      api.listStatus = undefined;
      api.listText = undefined;
      api.remove('modulesources', 'a');
      // A hanging list ends after 15 s, a hanging watch after 30 s.
      await until(name, 404, what.includes('never') ? 35_000 : 5000);
    });
  }
});
