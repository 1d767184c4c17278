import { expect } from 'chai';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseFlags, SETTINGS_FLAGS, SettingsError } from '../../../../src/adapters/cli/command.ts';
import { readSettings } from '../../../../src/infrastructure/load-settings.ts';

const DEFAULTS = join(import.meta.dirname, '../../../../config/default.yaml');
/** Words of the validator and of its types. */
const RAW = /Invalid|expected|received|Too (?:big|small)|undefined|NaN|\[object/;

describe('mistakes in settings', () => {
  let directory: string;
  let file: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'mistakes-'));
    file = join(directory, 'my.yaml');
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  function mistakes(yaml: string, ...flags: string[]): readonly string[] {
    writeFileSync(file, yaml);
    try {
      readSettings(parseFlags(['--config', file, ...flags], SETTINGS_FLAGS, []).flags, { defaultSettings: DEFAULTS });
    } catch (error) {
      if (error instanceof SettingsError) return error.problems.map((problem) => problem.replace(file, 'my.yaml'));
      throw error;
    }
    return [];
  }

  it('of every kind are reported together, in the order of the file, one sentence each', () => {
    /** A comment after each line with a mistake has the beginning of its message. */
    const yaml = `server:
  listenAddress: \${ADDRESS} # server.listenAddress: must be host:port or :port; "\${…}" stays as it is
  shutdownTimeoutSeconds: 25s # server.shutdownTimeoutSeconds: must be seconds without a unit, from 0 to 3600, not text
  maxConnections: "2048" # server.maxConnections: must be a whole number from 128 to 65536, not text: leave the quotes out
  maxSocketMemory: plenty # server.maxSocketMemory: must be a size
  distribution: true # server.distribution: must be a section of settings, not true or false
  tls: # server.tls: needs all three files or none
    certificate: a.pem
    clientNames: sidecar # server.tls.clientNames: must be a list, not text
bootstrap:
  allowWithoutUUID: yes # bootstrap.allowWithoutUUID: must be true or false, not text: YAML reads yes, no, on and off as text
store:
  directory: 5 # store.directory: must be text, not a number: put it in quotes
  maxSize: [1Gi] # store.maxSize: must be a size such as 1Gi, 500M or 1000000, not a list
  scrubRate: 8Mi
  scrubRate: 9Mi # store.scrubRate: is there already, in line 15
registry:
  gateway: s3 # registry.gateway: must be oci, oci-layout or bucket
  parallelDownloads: 1.5 # registry.parallelDownloads: must be a whole number from 1 to 256
  timeouts: { idleSeconds: 0 } # registry.timeouts.idleSeconds: must be seconds without a unit, more than 0 and at most 3600
  mirrors:
    - of: "*" # registry.mirrors.0.passwordFile: usernameFile and passwordFile go together
      endpont: x # registry.mirrors.0.endpont: is not a setting, did you mean endpoint?
      endpoint: ftp://x # registry.mirrors.0.endpoint: must be http:// or https://
      usernameFile: a
  sources: [] # registry.sources: must be a section of settings, not a list
  bucket:
    endpoint: s3://bucket # registry.bucket.endpoint: must be an http or https URL
  signature: # registry.signature: needs keys or roots
    mode: enforce
credentials:
  registries:
    - repo: https://registry.example.com/a # credentials.registries.0.repo: must be host[:port][/path]
      passwordFile: nowhere # credentials.registries.0.passwordFile: the file cannot be read (ENOENT)
      username: robot
      default: true
    - repo: registry.example.com/b
      caFile: nowhere # credentials.registries.1.caFile: the file cannot be read (ENOENT)
      default: true # credentials.registries.1.default: only one registry can be the default
    - registry.example.com/c # credentials.registries.2: must be a section of settings, not text
    - repo: registry.example.com/b # credentials.registries.3.repo: is listed twice
      username: ~ # credentials.registries.3.username: has no value, and must be text
      password: 0123 # credentials.registries.3.password: must be text, not a number: put it in quotes
      dockerCfg: e30= # credentials.registries.3.dockerCfg: there is a username already
  kubernetes:
    kubeconfig: b # credentials.kubernetes.kubeconfig: needs credentials.source: kubernetes
log: debug # log: must be a section of settings, not text
loglevel: info # loglevel: is not a setting, did you mean log.level?
`;
    const expected = yaml.split('\n').flatMap((line, index) => {
      const sentence = line.split(' # ')[1];
      return sentence === undefined ? [] : [`my.yaml:${String(index + 1)}: ${sentence}`];
    });
    const found = mistakes(yaml);
    expect(found.map((line, index) => line.slice(0, expected[index]?.length))).to.deep.equal(expected);
    expect(found.filter((line) => RAW.test(line))).to.deep.equal([]);
  });

  for (const [value, sentence] of [
    ['@abc', 'not valid YAML: text that begins with "@", "`" or "%" needs quotes (BAD_SCALAR_START)'],
    ['*abc', 'not valid YAML: text that begins with "*" needs quotes (BAD_ALIAS)'],
    ['!abc', 'not valid YAML: text that begins with "!" needs quotes (TAG_RESOLVE_FAILED)'],
    ['a: b', 'not valid YAML: text that holds ": " needs quotes (BLOCK_AS_IMPLICIT_KEY)'],
    [
      "'a'b",
      'not valid YAML: text follows the end of a value; text with quotes or brackets in it needs quotes around it (UNEXPECTED_TOKEN)',
    ],
    [
      '&abc',
      'credentials.registries.0.password: has no value, and must be text; text that begins with "&", "#" or "~" needs quotes',
    ],
    ['true', 'credentials.registries.0.password: must be text, not true or false: put it in quotes'],
  ]) {
    it(`are a password that YAML reads otherwise: ${String(value)}`, () => {
      const registry = `repo: a.example/b, username: robot`.replaceAll(', ', '\n      ');
      expect(
        mistakes(`credentials:\n  registries:\n    - ${registry}\n      password: ${String(value)}\n`),
      ).to.deep.equal([`my.yaml:5: ${String(sentence)}`]);
    });
  }

  it('in the YAML syntax are reported together with mistakes in the values, unless the file cannot be parsed', () => {
    expect(mistakes('log: debug\nlog: debug\n')).to.have.lengthOf(2);
    expect(mistakes('log: debug\nstore:\n\tmaxSize: 1\n')).to.deep.equal([
      'my.yaml:3: not valid YAML: a line is indented by a tab; YAML takes spaces (TAB_AS_INDENT)',
    ]);
  });

  it('in the place of a section are reported once, also if a flag sets a value in that section', () => {
    expect(mistakes('store: 5\n', '--cache-directory', '/x', '--log-level', 'loud')).to.deep.equal([
      'my.yaml:1: store: must be a section of settings, not a number: give "name: value" below it',
      '--log-level: log.level: must be trace, debug, info, warn, error or fatal',
    ]);
  });

  it('cause no further mistakes', () => {
    expect(mistakes('credentials: { source: kubernets, kubernetes: { kubeconfig: a } }\n')).to.have.lengthOf(1);
    expect(mistakes('registry: { gateway: 5, mirrors: [] }\nserver: { tls: { key: [] } }\n')).to.have.lengthOf(2);
  });
});
