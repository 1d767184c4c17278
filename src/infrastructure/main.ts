/** The entry point of the sources. The dynamic import runs after the signal handlers, because static imports load first. */
import './interruption.ts';

await import('./program.ts');
