/** Runs a command while a registry with the packages of examples/mirror is running. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { startSiteRegistry } from './site-registry.ts';

const registry = await startSiteRegistry();
try {
  const [, , command = '', ...args] = process.argv;
  const child = spawn(command, args, { stdio: 'inherit', env: { ...process.env, ...registry.environment } });
  [process.exitCode] = (await once(child, 'exit')) as [number | undefined];
} finally {
  await registry.close();
}
