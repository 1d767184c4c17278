/** The bundle's way in: `main.ts` with what V8 compiled of it when the bundle was made (`tools/build.ts`). */
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';

// Nearly all that loading makes stays, which V8 takes for a reason to let the young generation grow to 16 MiB; requests
// leave hardly anything behind. Without this the idle process is 8 MB larger.
setFlagsFromString('--semi-space-growth-factor=1');
enableCompileCache(join(import.meta.dirname, 'compile-cache'));
await import('./main.ts');
