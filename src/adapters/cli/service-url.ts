/** Where a running service is, as the flag `--url` says it: no path, and no password, which every complaint would show. */
import { UsageError } from './failures.ts';

/** @throws UsageError, which does not repeat the text */
export function parseServiceUrl(text: string): URL {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.href !== `${url.origin}/`) {
    throw new UsageError('--url must be http://HOST:PORT or https://HOST:PORT');
  }
  return url;
}
