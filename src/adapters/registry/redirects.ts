/** Where no redirect may lead, and what goes along to where it does (besides what got itself takes away). */
import type { BeforeRedirectHook } from 'got';

export const checkRedirect: BeforeRedirectHook = ({ url, headers }, response) => {
  const from = new URL(response.url);
  const to = new URL(url ?? '');
  if (from.protocol === 'https:' && to.protocol !== 'https:') {
    throw Object.assign(new Error('redirect from https to http'), { code: 'ERR_INSECURE_REDIRECT' });
  }
  // A state holds what others have written: no business of a storage that nobody has configured.
  if (to.origin !== from.origin) {
    delete headers['traceparent'];
    delete headers['tracestate'];
  }
};
