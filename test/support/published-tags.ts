/** Publishes images of a registry by their tags. */
import type { FakeRegistry, LoggedRequest } from './fake-registry.ts';

/** Manifests by `repository:tag`; a repository without any of them is unknown. Other requests are left to the registry. */
export function publishTags(
  registry: FakeRegistry,
  tagged: Readonly<Record<string, Uint8Array>>,
  isAllowed: (request: LoggedRequest) => boolean = () => true,
): void {
  registry.script((request, response) => {
    const [, repository = '', list, tag = ''] =
      /^\/v2\/(.+)\/(?:(tags\/list)|manifests\/([^/:]+))$/.exec(request.url) ?? [];
    if (repository === '' || !isAllowed(request)) return false;
    const tags = Object.keys(tagged)
      .filter((name) => name.startsWith(`${repository}:`))
      .map((name) => name.slice(repository.length + 1));
    const manifest = tagged[`${repository}:${tag}`];
    if (list !== undefined && tags.length > 0) response.end(JSON.stringify({ name: repository, tags }));
    else if (manifest !== undefined) response.end(manifest);
    else response.writeHead(404).end();
    return true;
  });
}
