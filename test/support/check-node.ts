/** Says in one line what is missing, before a test run fails in a hundred less clear ways. */
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 24 || (major === 24 && minor < 15)) {
  process.stderr.write(
    `Node ${process.versions.node} is too old: 24.15 or newer is needed. On Linux "npm ci" brings one, and npm 11 puts it first in PATH (npm 9.2 of Debian does not: npx npm@11 test); ` +
      'elsewhere, or with --omit=optional, install Node 24 first.\n',
  );
  process.exit(1);
}
