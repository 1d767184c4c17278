/** Handles the signals that end the process, before other code is loaded: every entry point imports this file first. */

const interruption = new AbortController();

// Process 1 of a container ignores a signal without a handler (pid_namespaces(7)). A second signal has no handler and ends
// the process at once.
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => {
    interruption.abort();
  });
}

export const interrupted = interruption.signal;
