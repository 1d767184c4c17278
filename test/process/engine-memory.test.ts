import { expect } from 'chai';
import { ServiceProcess } from '../support/service-process.ts';

/** Prints each flag of V8 that the process sets. */
const HOOK = `
  import v8 from 'node:v8';
  import { syncBuiltinESMExports } from 'node:module';
  const set = v8.setFlagsFromString;
  v8.setFlagsFromString = (flag) => { process.stderr.write(\`flag \${flag}\\n\`); set(flag); };
  syncBuiltinESMExports();`;

describe('a service that listens', function () {
  this.timeout(30_000);

  it('limits the memory of V8, and compiles hot functions with TurboFan only', async () => {
    const environment = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(HOOK)}` };
    const service = await ServiceProcess.start({ environment });
    try {
      for (const flag of ['--semi-space-growth-factor=2', '--heap-growing-percent=50', '--no-maglev'])
        await service.printed(new RegExp(`^flag ${flag}$`, 'm'));
    } finally {
      await service.close();
    }
    expect(service.hasEnded).to.equal(true);
  });
});
