/** Reverse proxies that an operator can put before a registry: TLS of a private CA, and compression if they support it. */
import { join } from 'node:path';
import type { FrontKind } from './front.ts';

export const REVERSE_PROXIES: readonly FrontKind[] = [
  {
    name: 'nginx',
    programs: ['nginx'],
    configure: ({ home, port, originPort, cert, key }) =>
      nginx(home, `${server(port, cert, key)} location / { ${pass(originPort)} } }`),
  },
  {
    name: 'Apache httpd with mod_deflate',
    programs: ['apache2'],
    configure: ({ home, port, originPort, cert, key, rootOf }) =>
      Promise.resolve({
        files: {
          'httpd.conf': `
${apacheModules(join(rootOf('apache2'), 'usr/lib/apache2/modules'), [
  'mpm_event',
  'authz_core',
  'proxy',
  'proxy_http',
  'ssl',
  'filter',
  'deflate',
  'headers',
])}
ServerRoot ${home}
ServerName localhost
User nobody
Group nogroup
Listen 127.0.0.1:${String(port)}
PidFile ${home}/run/httpd.pid
Mutex file:${home}/run
DefaultRuntimeDir ${home}/run
ErrorLog ${home}/log/error.log
SSLEngine on
SSLCertificateFile ${cert}
SSLCertificateKeyFile ${key}
SetOutputFilter DEFLATE
ProxyPass / http://127.0.0.1:${String(originPort)}/
ProxyPreserveHost On
`,
        },
        processes: [{ program: 'apache2', args: ['-D', 'FOREGROUND', '-f', join(home, 'httpd.conf')] }],
      }),
  },
  {
    name: 'HAProxy',
    programs: ['haproxy'],
    configure: ({ home, port, originPort, pem }) =>
      Promise.resolve({
        files: {
          'haproxy.cfg': `
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend f
  bind 127.0.0.1:${String(port)} ssl crt ${pem}
  default_backend b
backend b
  compression algo gzip
  compression type application/octet-stream application/vnd.oci.image.manifest.v1+json
  server s 127.0.0.1:${String(originPort)}
`,
        },
        processes: [{ program: 'haproxy', args: ['-db', '-f', join(home, 'haproxy.cfg')] }],
      }),
  },
  {
    name: 'Caddy',
    programs: ['caddy'],
    configure: ({ home, port, originPort, cert, key }) =>
      Promise.resolve({
        files: {
          Caddyfile: `
{
  admin off
  auto_https off
}
:${String(port)} {
  bind 127.0.0.1
  tls ${cert} ${key}
  encode gzip
  reverse_proxy 127.0.0.1:${String(originPort)}
}
`,
        },
        processes: [
          {
            program: 'caddy',
            args: ['run', '--adapter', 'caddyfile', '--config', join(home, 'Caddyfile')],
            environment: { XDG_CONFIG_HOME: join(home, 'run'), XDG_DATA_HOME: join(home, 'run') },
          },
        ],
      }),
  },
  {
    name: 'lighttpd',
    programs: ['lighttpd'],
    configure: ({ home, port, originPort, pem, rootOf }) =>
      Promise.resolve({
        files: {
          'lighttpd.conf': `
server.modules = ("mod_proxy", "mod_openssl")
server.document-root = "${home}/tmp"
server.upload-dirs = ("${home}/tmp")
server.bind = "127.0.0.1"
server.port = ${String(port)}
ssl.engine = "enable"
ssl.pemfile = "${pem}"
proxy.server = ("" => (("host" => "127.0.0.1", "port" => ${String(originPort)})))
`,
        },
        processes: [
          {
            program: 'lighttpd',
            args: ['-D', '-f', join(home, 'lighttpd.conf'), '-m', join(rootOf('lighttpd'), 'usr/lib/lighttpd')],
          },
        ],
      }),
  },
  {
    name: 'h2o',
    programs: ['h2o'],
    configure: ({ home, port, originPort, cert, key }) =>
      Promise.resolve({
        files: {
          'h2o.conf': `
${isRoot() ? 'user: root\n' : ''}num-threads: 2
compress: ON
listen:
  host: 127.0.0.1
  port: ${String(port)}
  ssl:
    certificate-file: ${cert}
    key-file: ${key}
hosts:
  default:
    paths:
      /:
        proxy.reverse.url: http://127.0.0.1:${String(originPort)}/
        proxy.preserve-host: ON
`,
        },
        processes: [{ program: 'h2o', args: ['-c', join(home, 'h2o.conf')] }],
      }),
  },
  {
    name: 'nghttpx',
    programs: ['nghttpx'],
    configure: ({ home, port, originPort, cert, key }) =>
      Promise.resolve({
        files: {
          'nghttpx.conf': `
frontend=127.0.0.1,${String(port)}
backend=127.0.0.1,${String(originPort)}
private-key-file=${key}
certificate-file=${cert}
workers=1
`,
        },
        processes: [{ program: 'nghttpx', args: [`--conf=${join(home, 'nghttpx.conf')}`] }],
      }),
  },
];

/** Compresses answers for clients that accept it, and sends no Vary to caches. */
export const COMPRESSOR: FrontKind = {
  name: 'nginx that compresses',
  programs: ['nginx'],
  configure: ({ home, port, originPort }) =>
    nginx(home, `server { listen 127.0.0.1:${String(port)}; location / { ${pass(originPort)} } }`),
};

export const isRoot = (): boolean => process.getuid?.() === 0;

export function apacheModules(folder: string, names: readonly string[]): string {
  return names.map((name) => `LoadModule ${name}_module ${folder}/mod_${name}.so`).join('\n');
}

export function server(port: number, cert: string, key: string): string {
  return `server { listen 127.0.0.1:${String(port)} ssl; ssl_certificate ${cert}; ssl_certificate_key ${key};`;
}

export function pass(originPort: number): string {
  return `proxy_pass http://127.0.0.1:${String(originPort)}; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_set_header Host $http_host;`;
}

export function nginx(home: string, http: string): ReturnType<FrontKind['configure']> {
  return Promise.resolve({
    files: { 'nginx.conf': nginxMain(home, `gzip on; gzip_proxied any; gzip_types *;\n${http}`) },
    processes: [{ program: 'nginx', args: ['-e', 'stderr', '-p', home, '-c', join(home, 'nginx.conf')] }],
  });
}

/** A whole nginx.conf around a block `http`. It sets every path, because the default ones do not exist. */
export function nginxMain(home: string, http: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `
${isRoot() ? 'user nobody nogroup;' : ''}
daemon off;
worker_processes 1;
pid ${home}/run/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${home}/tmp/${name};`).join('\n  ')}
  ${http}
}
`;
}
