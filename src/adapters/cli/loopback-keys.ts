/** `loopback-keys`: the keys with which the service and its sidecar identify each other on the loopback of their host. */
import { rm, writeFile } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { join } from 'node:path';
import { CertificateAuthority } from './certificate.ts';
import { command, CommandFailure, EXIT_CODE, EXIT_CODES, JSON_FLAG, UsageError, writeJson } from './command.ts';
import { formatError } from './format.ts';

const DEFAULT_ADDRESS = '127.0.0.1';

export const LOOPBACK_KEYS = command({
  about: `Makes a CA, a certificate for the service and one for each of its clients, the sidecar and "explain". The key of \
the CA is not saved, so it can sign no further certificate. The certificates do not expire. Files of an earlier run are replaced.`,
  flags: {
    service: {
      type: 'string',
      value: 'DIRECTORY',
      about: 'directory for ca.crt, tls.crt and tls.key, and for client.crt and client.key of "explain"',
    },
    sidecar: { type: 'string', value: 'DIRECTORY', about: 'directory for ca.crt, client.crt and client.key' },
    address: {
      type: 'string',
      value: 'ADDRESS',
      about: `IPv4 address on which the service listens; default ${DEFAULT_ADDRESS}`,
    },
    json: JSON_FLAG,
  },
  examples: [
    {
      to: 'into two volumes in memory, before the containers of a pod start',
      run: 'loopback-keys --service /keys/service --sidecar /keys/sidecar',
    },
  ],
  exits: { 0: 'the keys are there', 1: EXIT_CODES[1] },
  async run({ flags: { service, sidecar, address = DEFAULT_ADDRESS, json } }, { stdout }) {
    if (service === undefined) throw new UsageError('--service is missing');
    if (sidecar === undefined) throw new UsageError('--sidecar is missing');
    if (!isIPv4(address)) throw new UsageError('--address must be an IPv4 address');
    const ca = new CertificateAuthority('registry-packages-proxy-loopback');
    const server = ca.issue('registry-packages-proxy', { usage: 'server', address });
    const files = await write(service, {
      'ca.crt': ca.certificate,
      'tls.crt': server.certificate,
      'tls.key': server.key,
    });
    for (const [directory, name] of [
      [service, 'explain'],
      [sidecar, 'sidecar'],
    ] as const) {
      const { certificate, key } = ca.issue(name, { usage: 'client' });
      files.push(
        ...(await write(directory, { 'ca.crt': ca.certificate, 'client.crt': certificate, 'client.key': key })),
      );
    }
    if (json === true) writeJson(stdout, { files: [...new Set(files)] });
    return EXIT_CODE.done;
  },
});

/** Writes files that only the user of this process can read; resolves with their paths. @throws CommandFailure */
async function write(directory: string, files: Readonly<Record<string, string>>): Promise<string[]> {
  for (const [name, text] of Object.entries(files)) {
    const path = join(directory, name);
    try {
      await rm(path, { force: true });
      await writeFile(path, text, { mode: 0o400, flag: 'wx' });
    } catch (error) {
      throw new CommandFailure(`${path} cannot be written: ${formatError(error)}`, { cause: error });
    }
  }
  return Object.keys(files).map((name) => join(directory, name));
}
