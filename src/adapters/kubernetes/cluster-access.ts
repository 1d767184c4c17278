/** Access to the API server: by the service account of the pod, or by a kubeconfig, which is read again when it changes. */
import { type Cluster, KubeConfig, type User } from '@kubernetes/client-node';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { AgentOptions } from 'node:https';
import { dirname, isAbsolute, join } from 'node:path';
import { parse } from 'yaml';
import { asObject } from '../../domain/descriptor.ts';
import { ExecPlugin, type ExecPluginOptions } from './exec-plugin.ts';

/** Address, trust and credential of a request to the API server. */
export interface ClusterAccess {
  /** Resolves with the current configuration. Rejects if the kubeconfig cannot be read. */
  config(): Promise<KubeConfig>;
  /** Call this when the API server has refused the credentials (401). */
  refused(): void;
}

/** The environment of the process; a credential plugin inherits it. */
type Environment = Readonly<Record<string, string | undefined>>;
/** The options of a request that a credential sets. */
interface RequestCredential {
  headers?: Record<string, string>;
  cert?: string;
  key?: string;
}
type ApplyCredential = (request: RequestCredential) => Promise<void>;

/**
 * The time for each address, so that the others are tried in time: the library gives a connection 10 s, and Node gives each
 * address except the last only 250 ms.
 */
const ADDRESS_TIMEOUT_MS = 2500;

/** Without `file`, uses the service account of the pod. @throws Error if the configuration has no server */
export function openClusterAccess(file: string | undefined, environment: Environment): ClusterAccess {
  return file === undefined ? inClusterAccess() : new KubeconfigAccess(file, environment);
}

function inClusterAccess(): ClusterAccess {
  const config = new ReachableConfig();
  config.loadFromCluster();
  requireServer(config, 'not in a cluster: set credentials.kubernetes.kubeconfig (--kubeconfig)');
  config.useOwnCredentials(({ authProvider }) => {
    const { tokenFile } = asObject(asObject(authProvider, 'service account')['config'], 'service account');
    return typeof tokenFile === 'string' ? tokenFromFile(tokenFile) : undefined;
  });
  // Each request reads the token again, so nothing needs to be done after a refusal.
  return { config: () => Promise.resolve(config), refused: () => undefined };
}

class KubeconfigAccess implements ClusterAccess {
  readonly #file: string;
  readonly #environment: Environment;
  #text: string;
  #current: ParsedKubeconfig;

  constructor(file: string, environment: Environment) {
    this.#file = file;
    this.#environment = environment;
    this.#text = readFileSync(file, 'utf8');
    this.#current = parseKubeconfig(this.#text, file, environment);
  }

  async config(): Promise<KubeConfig> {
    const text = await readFile(this.#file, 'utf8');
    if (text !== this.#text) {
      this.#current = parseKubeconfig(text, this.#file, this.#environment);
      this.#text = text;
    }
    return this.#current.config;
  }

  refused(): void {
    for (const plugin of this.#current.plugins) plugin.refused();
  }
}

interface ParsedKubeconfig {
  readonly config: KubeConfig;
  readonly plugins: readonly ExecPlugin[];
}

function parseKubeconfig(text: string, file: string, environment: Environment): ParsedKubeconfig {
  const config = new ReachableConfig();
  const folder = dirname(file);
  config.loadFromString(text);
  config.makePathsAbsolute(folder);
  requireServer(config, `${file}: the current context has no server`);
  const tokenFiles = tokenFilesOf(text);
  const plugins: ExecPlugin[] = [];
  config.useOwnCredentials(({ name, exec }) => {
    const tokenFile = tokenFiles.get(name);
    // kubectl prefers the file to the field `token`.
    if (tokenFile !== undefined) return tokenFromFile(beside(folder, tokenFile));
    if (exec === undefined || exec === null) return undefined;
    const plugin = new ExecPlugin(parseExec(exec, folder, environment));
    plugins.push(plugin);
    return fromPlugin(plugin);
  });
  return { config, plugins };
}

/** A kubeconfig whose certificates are all trust anchors, and whose credentials this module reads. */
class ReachableConfig extends KubeConfig {
  /** `credentialOf` returns the credential of a user; for undefined the library handles the user. */
  useOwnCredentials(credentialOf: (user: User) => ApplyCredential | undefined): void {
    const own = new Map<string, ApplyCredential>();
    this.users = this.users.map((user) => {
      const apply = credentialOf(user);
      if (apply === undefined) return user;
      own.set(user.name, apply);
      return withoutCredentials(user);
    });
    this.addAuthenticator({
      isAuthProvider: ({ name }) => own.has(name),
      applyAuthentication: async ({ name }, options) => own.get(name)?.(options as RequestCredential),
    });
    // A final slash is removed, because the API server has no paths that begin with two slashes.
    this.clusters = this.clusters.map((cluster) => ({ ...cluster, server: cluster.server.replace(/\/+$/, '') }));
  }

  override createDispatcherOptions(
    cluster: Cluster | null,
    agentOptions: AgentOptions,
  ): ReturnType<KubeConfig['createDispatcherOptions']> {
    const options = super.createDispatcherOptions(cluster, agentOptions);
    // As in kubectl, an intermediate CA or the certificate of the server is a trust anchor.
    const trust = { allowPartialTrustChain: true, autoSelectFamilyAttemptTimeout: ADDRESS_TIMEOUT_MS };
    switch (options.type) {
      case 'agent':
        return { ...options, connect: { ...options.connect, ...trust } };
      case 'proxy':
      case 'socks':
        return { ...options, requestTls: { ...options.requestTls, allowPartialTrustChain: true } };
      case 'none':
        return options;
    }
  }
}

/** Checks for a server, because the library uses "https://undefined:undefined" if there is no cluster. */
function requireServer(config: KubeConfig, message: string): void {
  if (!URL.canParse(config.getCurrentCluster()?.server ?? '')) throw new Error(message);
}

function withoutCredentials(user: User): User {
  const credentials = ['exec', 'authProvider', 'token'];
  return Object.fromEntries(Object.entries(user).filter(([field]) => !credentials.includes(field))) as unknown as User;
}

/** Reads the token for each request, because a projected token can be replaced at any time. */
function tokenFromFile(path: string): ApplyCredential {
  return async (request) => {
    const token = (await readFile(path, 'utf8')).trim();
    request.headers = { ...request.headers, Authorization: `Bearer ${token}` };
  };
}

function fromPlugin(plugin: ExecPlugin): ApplyCredential {
  return async (request) => {
    const { token, clientCertificate, clientKey } = await plugin.credential();
    if (clientCertificate !== undefined) request.cert = clientCertificate;
    if (clientKey !== undefined) request.key = clientKey;
    if (token !== undefined) request.headers = { ...request.headers, Authorization: `Bearer ${token}` };
  };
}

/** `tokenFile` of each user (v1.AuthInfo), which the library does not read. */
function tokenFilesOf(text: string): ReadonlyMap<string, string> {
  const { users } = parse(text) as { users?: unknown };
  return new Map(
    (Array.isArray(users) ? users : []).flatMap((entry: unknown) => {
      const { name, user } = asObject(entry, 'user');
      const tokenFile = typeof user === 'object' && user !== null ? (user as { tokenFile?: unknown }).tokenFile : '';
      return typeof name === 'string' && typeof tokenFile === 'string' && tokenFile !== '' ? [[name, tokenFile]] : [];
    }),
  );
}

/** The `exec` section of a user (v1.ExecConfig). */
function parseExec(section: unknown, folder: string, environment: Environment): ExecPluginOptions {
  const { command, args, env, apiVersion } = asObject(section, 'exec');
  if (typeof command !== 'string' || command === '') throw new Error('kubeconfig: exec has no command');
  const added = (Array.isArray(env) ? env : []).map((entry: unknown): [string, string] => {
    const { name, value } = asObject(entry, 'env');
    return [String(name), String(value)];
  });
  // Like client-go, tells the plugin the expected version, and that there is no terminal.
  const info = JSON.stringify({ apiVersion, kind: 'ExecCredential', spec: { interactive: false } });
  return {
    // A name without a slash is searched in PATH; a path is relative to the kubeconfig.
    command: command.includes('/') ? beside(folder, command) : command,
    args: (Array.isArray(args) ? args : []).map(String),
    environment: { ...environment, ...Object.fromEntries<string>(added), KUBERNETES_EXEC_INFO: info },
  };
}

function beside(folder: string, path: string): string {
  return isAbsolute(path) ? path : join(folder, path);
}
