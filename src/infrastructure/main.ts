/** The entry point of the sources. The program is imported when signals are heard: all static imports load first. */
import './interruption.ts';

await import('./program.ts');
