import { expect } from 'chai';
import fc from 'fast-check';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseDocument, stringify, visit } from 'yaml';
import { parseFlags, SETTINGS_FLAGS, SettingsError } from '../../../src/adapters/cli/command.ts';
import { mergeSettings, readSettings } from '../../../src/infrastructure/load-settings.ts';
import { readSettingsFile } from '../../../src/adapters/cli/settings-file.ts';
import { LOG_LEVELS, type Settings } from '../../../src/infrastructure/settings.ts';
import { expectLinear, nearMiss, outcome } from '../../support/hostile-text.ts';

const CONFIG = join(import.meta.dirname, '../../../config');
const defaults = readSettingsFile(join(CONFIG, 'default.yaml'));

const valid = fc.record(
  {
    server: fc.record({ shutdownTimeoutSeconds: fc.integer({ min: 0, max: 3600 }) }),
    store: fc.record(
      { enabled: fc.boolean(), directory: fc.stringMatching(/^\/[a-z]{1,8}$/), maxSize: fc.maxSafeNat() },
      { requiredKeys: [] },
    ),
    registry: fc.record(
      {
        gateway: fc.constantFrom('oci', 'oci-layout'),
        trustedRealms: fc.array(fc.domain()),
        timeouts: fc.record({
          connectSeconds: fc.integer({ min: 1, max: 3600 }),
          retrySeconds: fc.integer({ min: 0, max: 60 }),
        }),
      },
      { requiredKeys: [] },
    ),
    log: fc.record({ level: fc.constantFrom(...LOG_LEVELS) }),
  },
  { requiredKeys: [] },
);
const PIECES = [
  ...[
    'a: b\n',
    ': ',
    ':',
    '- ',
    '-',
    '\n',
    ' ',
    '  ',
    '\t',
    '"',
    "'",
    '{',
    '}',
    '[',
    ']',
    ',',
    '#',
    '|\n',
    '>\n',
    '&a ',
    '*a',
    '<<: ',
  ],
  ...[
    '!!binary ',
    '!!set ',
    '%YAML 1.1\n',
    '---\n',
    '...\n',
    '? ',
    '__proto__: ',
    'constructor: ',
    'null',
    '~',
    '.inf',
    '-1',
    '0x10',
  ],
  ...['1e400', '9007199254740993', '\0', '\ufeff', 'ä'],
];

describe('settings', () => {
  let directory: string;
  let file: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'settings-'));
    file = join(directory, 'my.yaml');
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  function load(yaml: string, ...flags: string[]): Settings {
    writeFileSync(file, yaml);
    const { flags: values } = parseFlags(['--config', file, ...flags], SETTINGS_FLAGS, []);
    return readSettings(values, { defaultSettings: join(CONFIG, 'default.yaml') });
  }

  function problems(yaml: string, ...flags: string[]): string[] {
    try {
      load(yaml, ...flags);
    } catch (error) {
      if (error instanceof SettingsError) return error.problems.map((problem) => problem.replace(file, 'my.yaml'));
      throw error;
    }
    throw new Error('no problem was found');
  }

  it('are the defaults when nothing is set', () => {
    const settings = load('');
    expect(settings.server).to.deep.equal({
      listenAddress: { host: '127.0.0.1', port: 5080 },
      shutdownTimeoutSeconds: 25,
      maxConnections: 2048,
      maxSocketMemory: 0,
      distribution: { enabled: false },
      tls: { certificate: '', key: '', clientCA: '', clientNames: ['sidecar'] },
      certificates: [],
    });
    expect(settings.store).to.deep.equal({
      enabled: true,
      directory: '/cache',
      maxSize: 2 ** 30,
      scrubRate: 8 * 2 ** 20,
    });
    expect(settings.registry.platform).to.deep.equal({ os: 'linux', architecture: 'amd64' });
    expect(settings.credentials.registries).to.deep.equal([]);
  });

  it('come from flags, else from the file', () => {
    const yaml = 'store: { directory: /a, maxSize: 5M }\nlog: { level: debug }\n';
    expect(load(yaml).store).to.include({ directory: '/a', maxSize: 5_000_000, enabled: true });
    const flags = ['--cache-directory', '/b', '--disable-cache', '--log-level=warn', '--listen-address', ':0'];
    const settings = load(yaml, ...flags);
    expect(settings.store).to.include({ directory: '/b', maxSize: 5_000_000, enabled: false });
    expect(settings.log.level).to.equal('warn');
    expect(settings.server.listenAddress).to.deep.equal({ host: undefined, port: 0 });
  });

  it('keep the default for a name without a value', () => {
    expect(load('store:\nlog:\n  level:\n').log.level).to.equal('info');
  });

  it('resolve directories relative to the settings file', () => {
    const settings = load('store: { directory: cache }\nregistry: { ociLayout: { directory: ../mirror } }\n');
    expect(settings.store.directory).to.equal(join(directory, 'cache'));
    expect(settings.registry.ociLayout.directory).to.equal(join(directory, '../mirror'));
  });

  it('hold registries as upstreams', () => {
    const { registries } = load(`
credentials:
  registries:
    - repo: Registry.example:5000/deckhouse/ee/
      default: true
      scheme: http
      username: robot
      password: "pass:word"
    - repo: modules.example/a
`).credentials;
    expect(registries.map(({ name, isDefault }) => [name, isDefault])).to.deep.equal([
      ['Registry.example:5000/deckhouse/ee', true],
      ['modules.example/a', false],
    ]);
    const credential = registries[0]?.upstream.registry.credential;
    expect(credential).to.include({ kind: 'basic', username: 'robot' });
    expect(credential?.kind === 'basic' && credential.password.reveal()).to.equal('pass:word');
    expect(registries[1]?.upstream.registry).to.include({ scheme: 'https', host: 'modules.example' });
  });

  it('report all mistakes at once, each with its line', () => {
    const yaml = `store:
  maxSize: plenty
  size: 1Gi
registry:
  gateway: ftp
  timeouts: { retrySeconds: -1 }
  platform: amd64
credentials:
  registries:
    - repo: a.example/a
      default: true
    - repo: a.example/a
      default: true
    - repo: https://b.example
    - repo: c.example
      scheme: gopher
    - repo: d.example
      username: robot
    - repo: e.example
      ca: nonsense
    - repo: f.example
      dockerCfg: nonsense
    - scheme: HTTP
`;
    const found = problems(yaml, '--listen-address', 'nowhere', '--log-level', 'loud');
    expect(found).to.include.members([
      '--listen-address: server.listenAddress: must be host:port or :port',
      'my.yaml:2: store.maxSize: must be a size such as 1Gi, 500M or 1000000',
      'my.yaml:3: store.size: is not a setting',
      'my.yaml:7: registry.platform: must be os/architecture, such as linux/amd64',
      'my.yaml:14: credentials.registries.2.repo: must be host[:port][/path]',
      'my.yaml:16: credentials.registries.3.scheme: must be HTTP or HTTPS',
      'my.yaml:18: credentials.registries.4.username: username and password go together',
      'my.yaml:20: credentials.registries.5.ca: has no PEM certificate',
      'my.yaml:22: credentials.registries.6.dockerCfg: not base64 of JSON',
    ]);
    for (const start of [
      'my.yaml:5: registry.gateway: ',
      'my.yaml:6: registry.timeouts.retrySeconds: ',
      'my.yaml:23: credentials.registries.7.repo: ',
      '--log-level: log.level: ',
    ]) {
      expect(
        found.filter((problem) => problem.startsWith(start)),
        start,
      ).to.have.lengthOf(1);
    }
  });

  it('refuse a registry that is listed twice, and a second default', () => {
    const registry = '    - { repo: a.example/a, default: true }\n';
    expect(problems(`credentials:\n  registries:\n${registry}${registry}`)).to.deep.equal([
      'my.yaml:4: credentials.registries.1.repo: is listed twice',
      'my.yaml:4: credentials.registries.1.default: only one registry can be the default',
    ]);
  });

  it('refuse one file for TLS without the others', () => {
    expect(problems('server:\n  tls: { key: k.pem }\n')).to.deep.equal([
      'my.yaml:2: server.tls: needs all three files or none',
    ]);
  });

  it('refuse settings of another source of credentials', () => {
    expect(problems('', '--kubeconfig', '/x')).to.deep.equal([
      '--kubeconfig: credentials.kubernetes.kubeconfig: needs credentials.source: kubernetes',
    ]);
    const yaml = 'credentials:\n  source: kubernetes\n  registries: [{ repo: a.example }]\n';
    expect(problems(yaml)).to.deep.equal(['my.yaml:3: credentials.registries: needs credentials.source: static']);
    expect(
      load('credentials: { source: kubernetes }', '--kubeconfig', '/x').credentials.kubernetes.kubeconfig,
    ).to.equal('/x');
  });

  it('never show the text around a mistake', () => {
    const secret = 'canary-secret';
    const base64 = Buffer.from(`{"auths":{"${secret}`).toString('base64');
    const mistakes = [
      `credentials:\n  registries:\n    - { repo: a.example, username: x, password: ${secret}, dockerCfg: ${secret} }\n`,
      `credentials:\n  registries:\n    - { repo: a.example, dockerCfg: ${base64} }\n`,
      `credentials:\n  registries:\n    - { repo: a.example, password: [${secret}] }\n`,
      `credentials:\n  registries:\n    - { repo: a.example, password: "${secret} }\n`,
      `credentials: ${secret}\n`,
      `credentials:\n  registries:\n    - ${secret}\n`,
    ];
    for (const yaml of mistakes) expect(problems(yaml).join('\n')).not.to.match(/canary|Y2FuYXJ5/);
  });

  it('report a file that cannot be read, and the line of invalid YAML', () => {
    expect(() => readSettingsFile(join(directory, 'absent.yaml'))).to.throw(
      SettingsError,
      /absent\.yaml: cannot be read \(ENOENT\)/,
    );
    expect(problems('a: b\nc: [\n')[0]).to.match(/^my\.yaml:[23]: not valid YAML/);
    expect(problems('- a\n')).to.deep.equal(['my.yaml:1: must hold settings by name']);
  });

  it('are the defaults with the values of the file, in any notation', () => {
    fc.assert(
      fc.property(valid, fc.constantFrom('BLOCK_FOLDED', 'QUOTE_DOUBLE', 'PLAIN'), fc.boolean(), (json, type, flow) => {
        const defaultsAlone = load('');
        const yaml = stringify(json, { defaultStringType: type, collectionStyle: flow ? 'flow' : 'any' });
        const { server, store, registry, log } = load(yaml);
        expect(server).to.deep.equal({ ...defaultsAlone.server, ...json.server });
        expect(store).to.deep.equal({ ...defaultsAlone.store, ...json.store });
        const timeouts = { ...defaultsAlone.registry.timeouts, ...json.registry?.timeouts };
        expect(registry).to.deep.equal({ ...defaultsAlone.registry, ...json.registry, timeouts });
        expect(log).to.deep.equal({ ...defaultsAlone.log, ...json.log });
      }),
    );
  });

  it('return settings or their one error for any content of the file', () => {
    const text = fc.oneof(
      nearMiss(
        valid.map((json) => stringify(json)),
        PIECES,
      ),
      nearMiss(fc.constantFrom(...readdirSync(CONFIG).map((name) => readFileSync(join(CONFIG, name), 'utf8'))), PIECES),
      fc.string({ unit: 'binary' }),
    );
    fc.assert(
      fc.property(text, (yaml) => {
        const settings = outcome(() => load(yaml), SettingsError);
        if (settings === undefined) return;
        expect(Object.keys(settings)).to.deep.equal(Object.keys(defaults.data));
        expect(settings.server.listenAddress.port).to.be.within(0, 65535);
        expect(Number.isSafeInteger(settings.store.maxSize)).to.equal(true);
      }),
    );
  });

  it('return settings or their one error with any value of one setting', () => {
    const places = [
      'server',
      'server.listenAddress',
      'store',
      'store.maxSize',
      'registry.platform',
      'registry.timeouts',
    ];
    const lists = [
      'credentials',
      'credentials.registries',
      'credentials.registries.0',
      'credentials.registries.0.repo',
    ];
    fc.assert(
      fc.property(fc.constantFrom(...places, ...lists), fc.jsonValue(), (place, value) => {
        const nested = place
          .split('.')
          .reduceRight<unknown>((inner, name) => (name === '0' ? [inner] : { [name]: inner }), value);
        outcome(() => load(JSON.stringify(nested)), SettingsError);
      }),
    );
  });

  it('treat __proto__ as an ordinary field', () => {
    expect(problems('__proto__: { log: { level: debug } }\n')).to.deep.equal([
      'my.yaml:1: __proto__: is not a setting',
    ]);
    expect(problems('log:\n  __proto__: { level: debug }\n')).to.deep.equal([
      'my.yaml:2: log.__proto__: is not a setting',
    ]);
  });

  it('report the line of an unknown name, also if it is a number', () => {
    expect(problems('log: {}\n1: 2\n')).to.deep.equal(['my.yaml:2: 1: is not a setting']);
  });

  const aliases = {
    'that holds itself': 'log: &a { level: *a }\n',
    'that grows beyond measure': `a: &a [${'1,'.repeat(99)}]\nb: &b [${'*a,'.repeat(99)}]\nc: [${'*b,'.repeat(99)}]\n`,
  };
  for (const [how, yaml] of Object.entries(aliases)) {
    it(`refuse an alias ${how}`, () => {
      expect(problems(yaml)).to.deep.equal(['my.yaml: has an alias that cannot be followed']);
    });
  }

  for (const [start, end] of [
    ['[', ']'],
    ['{a: ', '}'],
    ['- ', ''],
    ['? ', ''],
    ['&a ', ''],
    ['!a ', ''],
    ['"', ''],
    ['{a: 1}: ', ''],
  ] as const) {
    it(`refuse 300 of ${start}`, () => {
      expect(problems(start.repeat(300) + end.repeat(300))[0]).to.match(/^my\.yaml(:\d+)?: /);
    });
  }

  it('are read out of 64 KiB of any text in linear time', () => {
    const read = (data: Record<string, unknown>): unknown =>
      outcome(() => mergeSettings([defaults, { data, place: () => undefined, mistakes: [] }]), SettingsError);
    expectLinear(['a', ':', '[', ']', '0', '.', '-', ' '], (listenAddress) => read({ server: { listenAddress } }));
    expectLinear(['a', '0', '.', '-', 'A'], (name) => read({ credentials: { kubernetes: { secret: { name } } } }));
    expectLinear(['a', '0', '/', 'A'], (platform) => read({ registry: { platform } }));
  });

  for (const name of readdirSync(CONFIG)) {
    it(`can be read from config/${name}`, () => {
      const settings = mergeSettings([defaults, readSettingsFile(join(CONFIG, name))]);
      expect(settings.server.listenAddress.port).to.equal(5080);
    });
  }

  it('are each explained in config/default.yaml', () => {
    const text = readFileSync(join(CONFIG, 'default.yaml'), 'utf8');
    const unexplained: string[] = [];
    visit(parseDocument(text), {
      Pair(_key, pair) {
        const { key, value } = pair as { key: { value: string; commentBefore?: string }; value: { items?: unknown[] } };
        const before =
          text
            .slice(0, text.indexOf(`${key.value}:`))
            .trimEnd()
            .split('\n')
            .at(-1) ?? '';
        if (value.items === undefined && !before.trimStart().startsWith('#')) unexplained.push(key.value);
      },
    });
    expect(unexplained).to.deep.equal([]);
  });

  for (const [text, told] of [
    ['loglevel: debug', '1: loglevel: is not a setting, did you mean log.level?'],
    ['maxSize: 1Gi', '1: maxSize: is not a setting, did you mean store.maxSize?'],
    ['store: { maxsize: 1Gi }', '1: store.maxsize: is not a setting, did you mean maxSize?'],
    ['sever: { listenAddress: a }', '1: sever: is not a setting, did you mean server?'],
    ['nothing: near', '1: nothing: is not a setting'],
    [
      'credentials: { registries: [{ repo: a.example, pasword: x }] }',
      '1: credentials.registries.0.pasword: is not a setting, did you mean password?',
    ],
    [
      'registry: { signature: { roots: "-----BEGIN CERTIFICATE-----" } }',
      '1: registry.signature.roots: is the certificate itself, not a path',
    ],
  ] as const) {
    it(`explain how to write ${text}`, () => {
      const directory = mkdtempSync(join(tmpdir(), 'settings-'));
      const file = join(directory, 'my.yaml');
      writeFileSync(file, text);
      try {
        expect(() => mergeSettings([defaults, readSettingsFile(file)]))
          .to.throw(SettingsError)
          .with.property('problems')
          .that.deep.equals([`${file}:${told}`]);
      } finally {
        rmSync(directory, { recursive: true });
      }
    });
  }
});
