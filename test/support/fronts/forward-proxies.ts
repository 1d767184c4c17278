/** Forward proxies for HTTPS_PROXY and HTTP_PROXY; only they can resolve the name of the registry. */
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PASSWORD, USERNAME } from '../fake-registry.ts';
import type { FrontKind } from './front.ts';
import { squidBase } from './caches.ts';
import { apacheModules, isRoot } from './reverse-proxies.ts';

export interface ForwardProxyKind extends FrontKind {
  readonly scheme: 'http' | 'socks5h';
  /** The password of USERNAME; undefined for a proxy without one. */
  readonly password: string | undefined;
}

/** MD5 of PASSWORD as Apache's htpasswd writes it, which squid's helper reads too. */
const HTPASSWD = `${USERNAME}:$apr1$canarysa$xMkNKTpsBi8npA/VfbQxn/\n`;

export const FORWARD_PROXIES: readonly ForwardProxyKind[] = [
  {
    name: 'Squid',
    scheme: 'http',
    password: PASSWORD,
    programs: ['squid'],
    configure: async ({ home, port, rootOf }) => {
      const root = rootOf('squid');
      // The user of squid may not read the home of root.
      const helper = join(home, 'run/basic_ncsa_auth');
      await copyFile(join(root, 'usr/lib/squid/basic_ncsa_auth'), helper);
      return {
        files: {
          htpasswd: HTPASSWD,
          'squid.conf': `
${squidBase(home, root)}
http_port 127.0.0.1:${String(port)}
hosts_file ${home}/hosts
auth_param basic program ${helper} ${home}/htpasswd
auth_param basic children 1
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
`,
        },
        processes: [{ program: 'squid', args: ['-N', '-d', '1', '-f', join(home, 'squid.conf')] }],
      };
    },
  },
  {
    name: 'Apache httpd',
    scheme: 'http',
    password: PASSWORD,
    programs: ['apache2'],
    configure: ({ home, port, rootOf }) =>
      Promise.resolve({
        files: {
          htpasswd: HTPASSWD,
          'httpd.conf': `
${apacheModules(join(rootOf('apache2'), 'usr/lib/apache2/modules'), [
  ...['mpm_event', 'authz_core', 'authz_user', 'authn_core', 'authn_file', 'auth_basic'],
  ...['proxy', 'proxy_http', 'proxy_connect'],
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
ProxyRequests On
AllowCONNECT 1-65535
<Proxy "*">
  AuthType Basic
  AuthName proxy
  AuthUserFile ${home}/htpasswd
  Require valid-user
</Proxy>
`,
        },
        processes: [{ program: 'apache2', args: ['-D', 'FOREGROUND', '-f', join(home, 'httpd.conf')] }],
      }),
  },
  {
    name: 'tinyproxy',
    scheme: 'http',
    // Its configuration supports neither quotes nor colons in a password.
    password: 'canary-word',
    programs: ['tinyproxy'],
    configure: ({ home, port }) =>
      Promise.resolve({
        files: {
          'tinyproxy.conf': `
Port ${String(port)}
Listen 127.0.0.1
Timeout 60
MaxClients 20
Allow 127.0.0.1
BasicAuth ${USERNAME} canary-word
`,
        },
        processes: [{ program: 'tinyproxy', args: ['-d', '-c', join(home, 'tinyproxy.conf')] }],
      }),
  },
  {
    name: 'microsocks',
    scheme: 'socks5h',
    password: PASSWORD,
    programs: ['microsocks'],
    configure: ({ port }) =>
      Promise.resolve({
        files: {},
        processes: [
          { program: 'microsocks', args: ['-i', '127.0.0.1', '-p', String(port), '-u', USERNAME, '-P', PASSWORD] },
        ],
      }),
  },
  {
    name: 'dante',
    scheme: 'socks5h',
    password: undefined,
    programs: ['danted'],
    configure: ({ home, port }) =>
      Promise.resolve({
        files: {
          'danted.conf': `
logoutput: stderr
internal: 127.0.0.1 port = ${String(port)}
external: lo
${isRoot() ? 'user.privileged: root\nuser.unprivileged: nobody\n' : ''}
clientmethod: none
socksmethod: none
client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }
socks pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }
`,
        },
        processes: [{ program: 'danted', args: ['-f', join(home, 'danted.conf'), '-p', join(home, 'run/danted.pid')] }],
      }),
  },
];
