/** kube-rbac-proxy before a peer, with the arguments and the environment that the chart gives it. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { get } from 'node:https';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseAllDocuments } from 'yaml';
import { freePort } from '../../test/support/peers/process.ts';
import { CA, serverCertificate } from '../../test/support/tls/certificates.ts';
import type { SecureOptions } from '../load-generator.ts';
import type { MeasuredProcess } from '../measured-process.ts';
import type { Workspace } from '../workspace.ts';
import { ROOT } from './programs.ts';
import { startTokenReviews, type TokenReviews } from './token-reviews.ts';

export const CHART = join(ROOT, 'charts/registry-packages-proxy');
const READY_WITHIN_MS = 20_000;
const NO_HTTP2 = '--http2-disable';

export interface ContainerOfChart {
  readonly name: string;
  readonly args: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly resources: {
    readonly limits?: { readonly memory?: string; readonly cpu?: string };
    readonly requests?: { readonly memory?: string; readonly cpu?: string };
  };
}

interface Pod {
  readonly kind: string;
  readonly spec: { readonly template: { readonly spec: { readonly containers: readonly ContainerOfChart[] } } };
}

export interface Sidecar {
  readonly process: MeasuredProcess;
  /** `https://127.0.0.1:PORT` */
  readonly base: string;
  readonly secure: SecureOptions;
}

/** Returns both containers as `helm template` renders them. */
export async function containersOfChart(
  helm: string,
  ...flags: readonly string[]
): Promise<readonly ContainerOfChart[]> {
  const { stdout } = await promisify(execFile)(helm, ['template', 'bench', CHART, '--skip-tests', ...flags]);
  const pods = parseAllDocuments(stdout).map((document) => document.toJS() as Pod | null);
  const pod = pods.find((one) => one?.kind === 'Deployment');
  if (!pod) throw new Error('the chart has no Deployment');
  return pod.spec.template.spec.containers;
}

/** Starts sidecars that share one API server. */
export class Sidecars {
  readonly #workspace: Workspace;
  readonly #program: string;
  readonly #container: ContainerOfChart;
  readonly #home: string;
  readonly #reviews: TokenReviews;

  private constructor(
    workspace: Workspace,
    program: string,
    container: ContainerOfChart,
    home: string,
    reviews: TokenReviews,
  ) {
    this.#workspace = workspace;
    this.#program = program;
    this.#container = container;
    this.#home = home;
    this.#reviews = reviews;
  }

  static async create(workspace: Workspace, program: string, helm: string): Promise<Sidecars> {
    const container = (await containersOfChart(helm)).find(({ name }) => name === 'kube-rbac-proxy');
    if (container === undefined) throw new Error('the chart has no sidecar');
    const home = await workspace.folder('sidecar');
    for (const [name, content] of Object.entries({ ...serverCertificate('localhost'), ca: CA })) {
      await writeFile(join(home, name), content);
    }
    const reviews = await startTokenReviews(join(home, 'kubeconfig'));
    return new Sidecars(workspace, program, container, home, reviews);
  }

  /** Starts a sidecar before the peer at this URL. `http2` overrides the value of the chart. */
  async start(upstream: string, http2: boolean): Promise<Sidecar> {
    const port = await freePort();
    const process = this.#workspace.spawn(this.#program, this.#argumentsFor(port, upstream, http2), {
      environment: Object.fromEntries(
        (this.#container.env ?? []).flatMap(({ name, value }) => (value === undefined ? [] : [[name, value] as const])),
      ),
    });
    const base = `https://127.0.0.1:${String(port)}`;
    await ready(`${base}/healthz`, process);
    return { process, base, secure: { caPath: join(this.#home, 'ca'), token: 'bench', http2 } };
  }

  close(): void {
    this.#reviews.close();
  }

  #argumentsFor(port: number, upstream: string, http2: boolean): string[] {
    const own = ['--secure-listen-address', '--upstream', '--tls-', '--client-ca-file', NO_HTTP2];
    return [
      ...this.#container.args.filter((argument) => !own.some((name) => argument.startsWith(name))),
      ...(http2 ? [] : [NO_HTTP2]),
      `--secure-listen-address=127.0.0.1:${String(port)}`,
      `--upstream=${upstream}/`,
      `--tls-cert-file=${join(this.#home, 'cert')}`,
      `--tls-private-key-file=${join(this.#home, 'key')}`,
      `--kubeconfig=${this.#reviews.kubeconfig}`,
    ];
  }
}

async function ready(url: string, process: MeasuredProcess): Promise<void> {
  const deadline = performance.now() + READY_WITHIN_MS;
  while ((await statusOf(url)) !== 200) {
    process.assertRuns();
    if (performance.now() > deadline) throw new Error(`the sidecar is not ready: ${process.output}`);
    await sleep(20);
  }
}

function statusOf(url: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const request = get(url, { agent: false, ca: CA }, (response) => {
      resolve(response.statusCode);
      response.destroy();
    });
    request.on('error', () => {
      resolve(undefined);
    });
  });
}
