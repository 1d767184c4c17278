/** The settings for a machine without a registry agent. */
import type { AgentOptions } from '../../src/adapters/kubernetes/kubernetes-credential-provider.ts';

export const NO_AGENT: AgentOptions = {
  ca: '/nonexistent/ca.crt',
  storeOnRefusal: false,
  onUnusableCa: (reason) => {
    throw new Error(reason);
  },
};
