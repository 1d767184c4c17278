/** A real Prometheus that scrapes one service with the settings of the chart's PodMonitor, but more often. */
import got, { type Got } from 'got';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { freePort, PeerProcess } from './process.ts';

export interface PrometheusOptions {
  readonly path: string;
  /** Host and port of the service, which is also the label `instance`. */
  readonly target: string;
  readonly job: string;
  readonly node: string;
  /** The rules of a PrometheusRule. */
  readonly rules: object;
}

interface Answer<Data> {
  readonly data: Data;
}

type Sample = readonly [unixTime: number, value: string];

interface Result {
  readonly result: readonly { readonly value?: Sample; readonly values?: readonly Sample[] }[];
}

const INTERVAL = '250ms';

export class Prometheus {
  readonly #process: PeerProcess;
  readonly #home: string;
  readonly #client: Got;
  readonly #startedAt = Date.now();

  private constructor(process: PeerProcess, home: string, client: Got) {
    this.#process = process;
    this.#home = home;
    this.#client = client;
  }

  static async start({ path, target, job, node, rules }: PrometheusOptions): Promise<Prometheus> {
    const home = await mkdtemp(join(tmpdir(), 'prometheus-'));
    await writeFile(join(home, 'rules.yaml'), stringify(rules));
    const configuration = {
      global: { scrape_interval: INTERVAL, scrape_timeout: INTERVAL, evaluation_interval: INTERVAL },
      rule_files: ['rules.yaml'],
      scrape_configs: [{ job_name: job, static_configs: [{ targets: [target], labels: { node, tier: 'cluster' } }] }],
    };
    await writeFile(join(home, 'prometheus.yaml'), stringify(configuration));
    const address = `127.0.0.1:${String(await freePort())}`;
    const flags = {
      'config.file': join(home, 'prometheus.yaml'),
      'storage.tsdb.path': join(home, 'data'),
      'web.listen-address': address,
    };
    const process = new PeerProcess(
      path,
      Object.entries(flags).map(([name, value]) => `--${name}=${value}`),
    );
    const client = got.extend({ prefixUrl: `http://${address}`, retry: { limit: 0 }, responseType: 'json' });
    const prometheus = new Prometheus(process, home, client);
    await process.ready(async () => (await client('-/ready', { responseType: 'text' })).statusCode === 200);
    return prometheus;
  }

  /** Samples of all series of an expression now. */
  async now(expr: string): Promise<number[]> {
    return samplesOf(await this.#get<Result>('query', { query: expr }));
  }

  /** Samples of all series of an expression since the start, one each second. */
  async history(expr: string): Promise<number[]> {
    const [start, end] = [this.#startedAt, Date.now()].map((at) => String(at / 1000)) as [string, string];
    return samplesOf(await this.#get<Result>('query_range', { query: expr, start, end, step: '1' }));
  }

  async labelValues(label: string, selector: string): Promise<string[]> {
    return this.#get<string[]>(`label/${label}/values`, { 'match[]': selector });
  }

  async close(): Promise<void> {
    await this.#process.end();
    await rm(this.#home, { recursive: true });
  }

  async #get<Data>(path: string, searchParams: Record<string, string>): Promise<Data> {
    const { body } = await this.#client<Answer<Data>>(`api/v1/${path}`, { searchParams });
    return body.data;
  }
}

function samplesOf({ result }: Result): number[] {
  return result.flatMap(({ value, values = [] }) =>
    (value === undefined ? values : [value]).map(([, text]) => Number(text)),
  );
}
