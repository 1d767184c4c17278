/** The signals that end the process, heard before anything else is loaded: every entry point imports this file first. */

const interruption = new AbortController();

// Process 1 of a container loses a signal that it has no handler for (pid_namespaces(7)). A second signal finds no handler
// and ends the process at once.
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => {
    interruption.abort();
  });
}

export const interrupted = interruption.signal;
