import { expect } from 'chai';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ServiceProcess } from '../support/service-process.ts';

/** Modules of features that most installations do not use. */
const OPTIONAL =
  /\/src\/(adapters\/(sources|s3|signatures|http\/distribution)|application\/read-repository|infrastructure\/container\/(sources|bucket|distribution|signature)-module|infrastructure\/container\/bucket)\b|\/node_modules\/aws4\//;
/** Names of metrics of these features. */
const METRICS = /^registry_packages_proxy_(?:source|bucket|signature)_\w+/gm;
/** Modules that check the settings of these features, also of a service without them. */
const SCHEMAS = /-schema\.ts$|\/s3-location\.ts$/;

describe('a service without mirrors, bucket, signatures and /v2/', function () {
  this.timeout(60_000);
  let home: string;
  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'loaded-'));
  });
  after(() => rm(home, { recursive: true }));

  async function loadedBy(settings: object): Promise<{ modules: string[]; metrics: readonly string[] }> {
    const [hook, list] = [join(home, 'hook.mjs'), join(home, 'list')];
    await writeFile(
      hook,
      `import { registerHooks } from 'node:module';
       import { writeFileSync } from 'node:fs';
       const seen = new Set();
       registerHooks({ load: (url, context, next) => { seen.add(url); return next(url, context); } });
       process.once('exit', () => writeFileSync(${JSON.stringify(list)}, [...seen].join('\\n')));`,
    );
    const environment = { NODE_OPTIONS: `--import=${pathToFileURL(hook).href}` };
    const service = await ServiceProcess.start({ settings, environment });
    const exposed = await service.client('metrics').text();
    await service.end();
    await service.close();
    const loaded = (await readFile(list, 'utf8')).split('\n');
    return {
      modules: loaded.filter((url) => OPTIONAL.test(url) && !SCHEMAS.test(url)),
      metrics: exposed.match(METRICS) ?? [],
    };
  }

  it('loads no module of these features, and exposes no metric of them', async () => {
    expect(await loadedBy({})).to.deep.equal({ modules: [], metrics: [] });
  });

  it('loads the modules and exposes the metrics of each configured feature', async () => {
    const { modules, metrics } = await loadedBy({
      server: { distribution: { enabled: true } },
      registry: {
        mirrors: [{ of: '*', endpoint: 'http://127.0.0.1:1' }],
        bucket: { endpoint: 'http://127.0.0.1:1', credentials: { directory: home } },
      },
    });
    for (const part of ['sources-gateway', 's3-bucket', 'distribution-routes', 'read-repository', 'aws4']) {
      expect(
        modules.some((url) => url.includes(part)),
        part,
      ).to.equal(true);
    }
    for (const part of ['source_failing', 'bucket_usable']) {
      expect(metrics).to.include(`registry_packages_proxy_${part}`);
    }
  });
});
