/** nginx with one worker: as a file server (hits), as a cache before the origin (misses), and as a load balancer before replicas. */
import { readFile, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../test/support/peers/process.ts';
import { place } from '../bench-image.ts';
import type { MeasuredProcess } from '../measured-process.ts';
import { firstOk } from '../probe.ts';
import type { Workspace } from '../workspace.ts';
import { blobUrl } from './origin.ts';
import type { Peer, PeerOptions, PeerOptionsWithOrigin } from './peer.ts';
import { ROOT } from './programs.ts';

export async function startNginxFiles(program: string, { workspace, cached = [] }: PeerOptions): Promise<Peer> {
  const home = await workspace.folder('nginx');
  const files = join(home, 'files');
  for (const { layer } of cached) await place(layer, join(files, layer.hex));
  const { process, base } = await start(workspace, program, home, serverOf(`location / { root ${files}; }`));
  return { name: 'nginx', process, url: ({ layer }) => `${base}/${layer.hex}` };
}

/** Uses proxy_cache_lock, which nginx recommends against stampedes. */
export async function startNginxCache(program: string, { workspace, origin }: PeerOptionsWithOrigin): Promise<Peer> {
  const home = await workspace.folder('nginx-cache');
  const locations = `
    location /v2/ {
      proxy_pass ${origin.base};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache blobs;
      proxy_cache_valid 200 1d;
      proxy_cache_lock on;
      proxy_cache_lock_timeout 120s;
      proxy_cache_lock_age 120s;
    }`;
  const { process, base } = await start(workspace, program, home, serverOf(locations));
  return { name: 'nginx proxy_cache', process, url: (image) => blobUrl(base, image) };
}

/** Starts the configuration of examples/balancer without TLS before replicas at these ports; resolves with its URL. */
export async function startNginxBalancer(
  program: string,
  workspace: Workspace,
  replicas: readonly number[],
): Promise<string> {
  const example = await readFile(join(ROOT, 'examples/balancer/nginx.conf'), 'utf8');
  const block = example
    .replaceAll(/^ *(?:proxy_)?ssl_.*$/gm, '')
    .replace('https://', 'http://')
    .replaceAll(/master-(\d):4219/g, (_address, index: string) => `127.0.0.1:${String(replicas[Number(index)])}`);
  const home = await workspace.folder('nginx-balancer');
  const servers = (port: number): string => block.replace('listen 4219 ssl', `listen 127.0.0.1:${String(port)}`);
  const { base } = await start(workspace, program, home, servers);
  return base;
}

type Servers = (port: number) => string;

function serverOf(locations: string): Servers {
  return (port) => `server {
    listen 127.0.0.1:${String(port)};
    location = /healthz { return 200 ok; }
    ${locations}
  }`;
}

async function start(
  workspace: Workspace,
  program: string,
  home: string,
  servers: Servers,
): Promise<{ process: MeasuredProcess; base: string }> {
  const port = await freePort();
  const path = join(home, 'nginx.conf');
  await writeFile(path, configuration(home, servers(port)));
  const process = workspace.spawn(program, ['-e', 'stderr', '-p', home, '-c', path]);
  const base = `http://127.0.0.1:${String(port)}`;
  await firstOk(`${base}/healthz`, process);
  return { process, base };
}

/** Sets all paths, because the default paths of the program do not exist here. */
function configuration(home: string, servers: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
${userInfo().uid === 0 ? 'user root;' : ''}
pid ${join(home, 'nginx.pid')};
error_log stderr error;
events { worker_connections 8192; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  default_type application/octet-stream;
  ${temporary.map((name) => `${name}_temp_path ${join(home, name)};`).join('\n  ')}
  proxy_cache_path ${join(home, 'cache')} keys_zone=blobs:10m max_size=64g inactive=1d use_temp_path=off;
  ${servers}
}
`;
}
