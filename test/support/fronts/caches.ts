/** HTTP caches that an operator can put before a registry: TLS of a private CA, and otherwise default settings. */
import { join } from 'node:path';
import { freePort } from '../peers/process.ts';
import type { FrontKind } from './front.ts';
import { isRoot, nginx, pass, server } from './reverse-proxies.ts';

export const CACHES: readonly FrontKind[] = [
  {
    name: 'nginx with a cache',
    programs: ['nginx'],
    configure: ({ home, port, originPort, cert, key }) =>
      nginx(
        home,
        `proxy_cache_path ${home}/cache keys_zone=kept:1m;
        ${server(port, cert, key)} location / { ${pass(originPort)} proxy_cache kept; proxy_cache_valid 200 206 1h; } }`,
      ),
  },
  {
    name: 'Squid as an accelerator',
    programs: ['squid'],
    configure: ({ home, port, originPort, cert, key, rootOf }) =>
      Promise.resolve({
        files: {
          'squid.conf': `
${squidBase(home, rootOf('squid'))}
https_port 127.0.0.1:${String(port)} accel tls-cert=${cert} tls-key=${key} no-vhost defaultsite=127.0.0.1
cache_peer 127.0.0.1 parent ${String(originPort)} 0 no-query originserver name=registry no-digest
cache_peer_access registry allow all
never_direct allow all
http_access allow all
`,
        },
        processes: [{ program: 'squid', args: ['-N', '-d', '1', '-f', join(home, 'squid.conf')] }],
      }),
  },
  {
    name: 'Varnish behind hitch',
    programs: ['varnishd', 'hitch'],
    asksForPatience: true,
    configure: async ({ home, port, originPort, pem }) => {
      const inner = await freePort();
      return {
        files: {
          'default.vcl': `vcl 4.1;\nbackend default { .host = "127.0.0.1"; .port = "${String(originPort)}"; }\n`,
          'hitch.conf': `
frontend = "[127.0.0.1]:${String(port)}"
backend = "[127.0.0.1]:${String(inner)}"
pem-file = "${pem}"
workers = 1
quiet = on
daemon = off
`,
        },
        processes: [
          {
            program: 'varnishd',
            port: inner,
            args: [
              ...['-F', '-j', 'none', '-n', join(home, 'run'), '-a', `127.0.0.1:${String(inner)}`],
              ...['-f', join(home, 'default.vcl'), '-s', 'malloc,128m', '-T', 'none'],
            ],
          },
          { program: 'hitch', args: [`--config=${join(home, 'hitch.conf')}`, ...(isRoot() ? ['--user=nobody'] : [])] },
        ],
      };
    },
  },
  {
    name: 'Traffic Server',
    programs: ['traffic_server'],
    configure: ({ home, port, originPort, cert, key, rootOf }) =>
      Promise.resolve({
        files: trafficServerFiles(home, port, originPort, cert, key, rootOf('traffic_server')),
        processes: [{ program: 'traffic_server', args: [`--run-root=${join(home, 'runroot.yaml')}`] }],
      }),
  },
];

/** The settings of a squid outside the directory of Debian that runs at the same time as others. */
export function squidBase(home: string, root: string): string {
  return `
visible_hostname front
pid_filename ${home}/run/squid.pid
coredump_dir ${home}/run
cache_log /dev/null
access_log none
pinger_enable off
unlinkd_program ${root}/usr/lib/squid/unlinkd
cache_mem 128 MB
maximum_object_size_in_memory 64 MB
error_directory ${root}/usr/share/squid-langpack/en
icon_directory ${root}/usr/share/squid/icons
mime_table ${root}/usr/share/squid/mime.conf
shutdown_lifetime 0 seconds
`;
}

function trafficServerFiles(
  home: string,
  port: number,
  originPort: number,
  cert: string,
  key: string,
  root: string,
): Record<string, string> {
  const layout = {
    prefix: home,
    exec_prefix: home,
    bindir: join(root, 'usr/bin'),
    sbindir: join(root, 'usr/bin'),
    sysconfdir: home,
    datadir: home,
    libexecdir: join(root, 'usr/lib/trafficserver/modules'),
    localstatedir: join(home, 'run'),
    runtimedir: join(home, 'run'),
    logdir: join(home, 'log'),
    cachedir: join(home, 'cache'),
  };
  const records = {
    'admin.user_id STRING': '#-1',
    'body_factory.template_sets_dir STRING': join(root, 'etc/trafficserver/body_factory'),
    'http.server_ports STRING': `${String(port)}:ssl:ip-in=127.0.0.1`,
    'http.insert_age_in_response INT': '0',
    'url_remap.pristine_host_hdr INT': '1',
    'ssl.server.cert.path STRING': '/',
    'ssl.server.private_key.path STRING': '/',
    'log.logging_enabled INT': '0',
    'exec_thread.autoconfig INT': '0',
    'exec_thread.limit INT': '2',
    'cache.ram_cache.size INT': '67108864',
    'crash_log_helper STRING': 'NULL',
  };
  return {
    'runroot.yaml': Object.entries(layout)
      .map(([name, path]) => `${name}: ${path}\n`)
      .join(''),
    'records.config': Object.entries(records)
      .map(([name, value]) => `CONFIG proxy.config.${name} ${value}\n`)
      .join(''),
    'remap.config': `map / http://127.0.0.1:${String(originPort)}/\n`,
    'storage.config': `${join(home, 'cache')} 128M\n`,
    'ssl_multicert.config': `dest_ip=* ssl_cert_name=${cert} ssl_key_name=${key}\n`,
    'ip_allow.yaml': 'ip_allow:\n  - apply: in\n    ip_addrs: 0/0\n    action: allow\n    methods: ALL\n',
    'plugin.config': '',
  };
}
