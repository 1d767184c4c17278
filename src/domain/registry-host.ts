/** Hosts that are one registry under several spellings or names: default ports, and those of Docker Hub. */
import { joinPath, type RepositoryPath } from './reference.ts';

/** Docker Hub, as the Go library calls it (go-containerregistry, `name.DefaultRegistry`). */
const DOCKER_HUB = 'index.docker.io';
/** The second is what people write, the third is where Docker's own client sends requests. */
const DOCKER_HUB_NAMES: ReadonlySet<string> = new Set([DOCKER_HUB, 'docker.io', 'registry-1.docker.io']);
/** The namespace in which Docker Hub has its repositories of one component; `alpine` is `library/alpine`. */
const DOCKER_HUB_NAMESPACE = 'library' as RepositoryPath;

/** Where the registry `host[:port]` is asked. `docker.io` itself is a web site; the Go library asks `index.docker.io` instead. */
export function registryHost(host: string, scheme: 'http' | 'https'): string {
  const { host: spelled } = new URL(`${scheme}://${host}`);
  return spelled === 'docker.io' ? DOCKER_HUB : spelled;
}

/** The same for all names of one registry: what is known for one of them is good for the others. */
export function registryKey(host: string, scheme: 'http' | 'https'): string {
  const { host: spelled } = new URL(`${scheme}://${host}`);
  return DOCKER_HUB_NAMES.has(spelled) ? DOCKER_HUB : spelled;
}

/** The name by which the registry at `host` knows the repository `path`. */
export function repositoryIn(host: string, path: RepositoryPath): RepositoryPath {
  return DOCKER_HUB_NAMES.has(host) && !path.includes('/') ? joinPath(DOCKER_HUB_NAMESPACE, path) : path;
}
