/** The registry of the documents with the packages of examples/mirror. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PASSWORD, USERNAME } from '../fake-registry.ts';
import { findProgram, type Program } from '../peers/binaries.ts';
import { PeerRegistry } from '../peers/peer-registry.ts';
import { ROOT } from './page.ts';

const HOST = 'registry.example.com';

export interface SiteRegistry {
  /** The variables by which a page uses the registry. */
  readonly environment: Readonly<Record<string, string>>;
  close(): Promise<void>;
}

/** It uses TLS, a password and port 443, as the registry of a site does. */
export async function startSiteRegistry(): Promise<SiteRegistry> {
  const home = await mkdtemp(join(tmpdir(), 'registry-'));
  const [ca, key] = [join(home, 'ca.pem'), join(home, 'key.pem')];
  const names = [
    '-subj',
    `/CN=${HOST}`,
    '-addext',
    `subjectAltName=DNS:${HOST},DNS:registry.site.example,IP:127.0.0.1`,
  ];
  const certificate = ['-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-keyout', key, '-out', ca, ...names];
  execFileSync('openssl', ['req', ...certificate], { stdio: 'pipe' });
  const files = { cert: await readFile(ca, 'utf8'), key: await readFile(key, 'utf8') };
  const registry = await PeerRegistry.start({
    program: 'docker-registry',
    path: program('docker-registry'),
    basicAuth: true,
    tls: files,
    port: 443,
  });
  const env = { ...process.env, HOME: home, SSL_CERT_FILE: ca };
  const crane = (...args: string[]): unknown => execFileSync(program('crane'), args, { stdio: 'pipe', env });
  crane('auth', 'login', HOST, '--username', USERNAME, '--password', PASSWORD);
  crane('push', '--index', join(ROOT, 'examples/mirror'), `${HOST}/deckhouse/ee:examples`);
  return {
    environment: { REGISTRY_USERNAME: USERNAME, REGISTRY_PASSWORD: PASSWORD, REGISTRY_CA: ca },
    close: async () => {
      await registry.close();
      await rm(home, { recursive: true });
    },
  };
}

export function program(name: Program): string {
  const path = findProgram(name);
  if (path === undefined) throw new Error(`${name} is not here`);
  return path;
}
