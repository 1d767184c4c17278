/** Finds the real peers, and skips or fails suites without them. */
import { accessSync, constants } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

/** The name of each program (or definition of another project), and the variable that overrides its path. */
const PROGRAMS = {
  actionlint: 'ACTIONLINT',
  apache2: 'APACHE2',
  bwrap: 'BWRAP',
  busybox: 'BUSYBOX',
  caddy: 'CADDY',
  chromium: 'CHROMIUM',
  'cloud-init': 'CLOUD_INIT',
  containerd: 'CONTAINERD',
  ctr: 'CTR',
  'docker-registry': 'DOCKER_REGISTRY',
  'distribution-registry': 'DISTRIBUTION_REGISTRY',
  'cosign-2': 'COSIGN_2',
  'cosign-3': 'COSIGN_3',
  crane: 'CRANE',
  rclone: 'RCLONE',
  's3s-fs': 'S3S_FS',
  seaweedfs: 'SEAWEEDFS',
  versitygw: 'VERSITYGW',
  danted: 'DANTED',
  etcd: 'ETCD',
  'kube-apiserver': 'KUBE_APISERVER',
  'kube-controller-manager': 'KUBE_CONTROLLER_MANAGER',
  'kube-scheduler': 'KUBE_SCHEDULER',
  kubectl: 'KUBECTL',
  'kube-rbac-proxy': 'KUBE_RBAC_PROXY',
  gitea: 'GITEA',
  h2o: 'H2O',
  haproxy: 'HAPROXY',
  helm: 'HELM',
  'helm-docs': 'HELM_DOCS',
  hitch: 'HITCH',
  jq: 'JQ',
  lighttpd: 'LIGHTTPD',
  microsocks: 'MICROSOCKS',
  nghttpx: 'NGHTTPX',
  nginx: 'NGINX',
  'oci-conformance': 'OCI_CONFORMANCE',
  ocimem: 'OCIMEM',
  prometheus: 'PROMETHEUS',
  promtool: 'PROMTOOL',
  shellcheck: 'SHELLCHECK',
  squid: 'SQUID',
  tinyproxy: 'TINYPROXY',
  traffic_server: 'TRAFFIC_SERVER',
  varnishd: 'VARNISHD',
  'listenersets.yaml': 'LISTENERSETS',
  'httproutes.yaml': 'HTTPROUTES',
  'backendtlspolicies.yaml': 'BACKENDTLSPOLICIES',
  'podmonitors.yaml': 'PODMONITORS',
  'prometheusrules.yaml': 'PROMETHEUSRULES',
  'verticalpodautoscalers.yaml': 'VERTICALPODAUTOSCALERS',
  'parse-query': 'PARSE_QUERY',
} as const;

export type Program = keyof typeof PROGRAMS;

/** The path of a program, which tools/peers.sh installs; undefined if it is missing. */
export function findProgram(program: Program): string | undefined {
  const override = process.env[PROGRAMS[program]];
  if (override !== undefined) return override;
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  const peers = join(cache, 'registry-packages-proxy/peers');
  const assets = process.env['KUBEBUILDER_ASSETS'];
  const folders = [
    ...(assets === undefined ? [] : [assets]),
    join(peers, 'bin'),
    join(peers, 'definitions'),
    ...(process.env['PATH'] ?? '').split(delimiter),
  ];
  return folders.map((folder) => join(folder, program)).find(isUsable);
}

/** Runs the suite over a program; without it the suite is skipped with a reason or, with REQUIRE_PEERS=1, fails. */
export function describeWith(program: Program, suite: (path: string) => void): void {
  describeWithAll([program], (paths) => {
    suite(paths[program]);
  });
}

/** The same for a suite that needs several programs together. */
export function describeWithAll<Needed extends Program>(
  programs: readonly Needed[],
  suite: (paths: Record<Needed, string>) => void,
): void {
  const found = programs.map((program) => [program, findProgram(program)] as const);
  const missing = found.filter(([, path]) => path === undefined).map(([program]) => program);
  if (missing.length === 0) {
    suite(Object.fromEntries(found) as Record<Needed, string>);
    return;
  }
  const reason = `${missing.join(', ')} not here: tools/peers.sh installs it`;
  if (process.env['REQUIRE_PEERS'] === '1') {
    it(reason, () => {
      throw new Error(reason);
    });
  } else {
    it.skip(reason);
  }
}

function isUsable(path: string): boolean {
  try {
    accessSync(path, path.endsWith('.yaml') ? constants.R_OK : constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
