/** The metrics of the service, parsed from its Prometheus text. */
import { get } from 'node:http';
import { text } from 'node:stream/consumers';

const PREFIX = 'registry_packages_proxy_';

export class Metrics {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  /** Uses its own connection and closes it, so that the checks at rest do not count it as left open. */
  static async of(port: number): Promise<Metrics> {
    const body = await new Promise<string>((resolve, reject) => {
      const options = { host: '127.0.0.1', port, path: '/metrics', agent: false, timeout: 10_000 };
      const asked = get(options, (response) => {
        text(response).then(resolve, reject);
      });
      asked.once('error', reject);
      asked.once('timeout', () => asked.destroy(new Error('no metrics in 10 s')));
    });
    return new Metrics(body);
  }

  /** The sum of all series of a metric with these labels; 0 when there are none. */
  sum(name: string, labels: Readonly<Record<string, string>> = {}): number {
    return this.#series(`${PREFIX}${name}`, labels).reduce((total, value) => total + value, 0);
  }

  /** The active resources of this type, from the metrics of Node. */
  active(type: string): number {
    return this.#series('nodejs_active_resources', { type }).reduce((total, value) => total + value, 0);
  }

  #series(name: string, labels: Readonly<Record<string, string>>): number[] {
    const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
    return this.text
      .split('\n')
      .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
      .filter((line) => wanted.every((label) => line.includes(label)))
      .map((line) => Number(line.slice(line.lastIndexOf(' ') + 1)));
  }
}
