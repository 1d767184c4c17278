import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OciLayoutGateway } from '../../../../src/adapters/oci-layout/oci-layout-gateway.ts';
import { InvalidContentError, UpstreamUnavailableError } from '../../../../src/domain/errors.ts';
import { makePackage } from '../../../support/image.ts';
import { OciLayout } from '../../../support/oci-layout.ts';
import { UPSTREAM } from '../../../support/ports.ts';
import { rejection } from '../../../support/rejection.ts';

const image = makePackage(100_000);
const never = new AbortController().signal;

describe('OciLayoutGateway', () => {
  let directory: string;
  let layout: OciLayout;
  let gateway: OciLayoutGateway;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'oci-layout-'));
    layout = new OciLayout(directory);
    await layout.create();
    await layout.add(image);
    gateway = new OciLayoutGateway(directory);
  });
  afterEach(() => rm(directory, { recursive: true }));
  const removed: string[] = [];
  afterEach(() => Promise.all(removed.splice(0).map((path) => rm(path))));

  describe('check', () => {
    it('accepts a layout', async () => {
      expect(await gateway.check()).to.equal(0);
    });

    const ours = image.manifest.descriptor;
    for (const [what, manifests, listed, skipped] of [
      ['null for its entries, as "docker save" writes it', null, [], 0],
      ['no entries', undefined, [], 0],
      ['an entry with a sha512 digest', [ours, { ...ours, digest: `sha512:${'a'.repeat(128)}` }], [ours.digest], 1],
      ['an entry that is null, and one that is text', [null, 'text', ours], [ours.digest], 2],
      ['an entry of an unknown type', [{ ...ours, mediaType: 'application/vnd.example' }, ours], [ours.digest], 1],
      ['an entry without mediaType and size', [{ digest: ours.digest }], [ours.digest], 0],
    ] as const) {
      it(`accepts an index.json that has ${what}, and finds blobs`, async () => {
        await writeFile(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
        expect(await gateway.check()).to.equal(skipped);
        expect(await gateway.list()).to.deep.equal(listed);
        const bytes = await gateway.fetchManifest(UPSTREAM, image.digest, never);
        expect(Buffer.compare(bytes, image.manifest.bytes)).to.equal(0);
      });
    }

    it('accepts files that begin with a byte order mark', async () => {
      for (const name of ['index.json', 'oci-layout']) {
        const path = join(directory, name);
        await writeFile(path, Buffer.concat([Buffer.from('\ufeff'), await readFile(path)]));
      }
      expect(await gateway.check()).to.equal(0);
    });

    it('accepts links inside the directory, as in a volume of a ConfigMap', async () => {
      const names = ['index.json', 'oci-layout', 'blobs'];
      await mkdir(join(directory, '..2026_01_01'));
      await symlink('..2026_01_01', join(directory, '..data'));
      for (const name of names) {
        await rename(join(directory, name), join(directory, '..2026_01_01', name));
        await symlink(join('..data', name), join(directory, name));
      }
      expect(await gateway.check()).to.equal(0);
      const bytes = await gateway.fetchManifest(UPSTREAM, image.digest, never);
      expect(Buffer.compare(bytes, image.manifest.bytes)).to.equal(0);
    });

    it('reports that an archive has to be unpacked', async () => {
      const archive = join(directory, 'image.tar');
      execFileSync('tar', ['-cf', archive, '-C', directory, 'index.json', 'oci-layout', 'blobs']);
      const { message } = await rejection(new OciLayoutGateway(archive).check());
      expect(message).to.equal(
        `${archive} is an archive: "mirror --from ARCHIVE --output DIRECTORY" makes a directory of it`,
      );
    });

    const faults: [what: string, break_: () => Promise<unknown>, message: RegExp][] = [
      ['has no oci-layout file', () => rm(join(directory, 'oci-layout')), /its file "oci-layout" cannot be read/],
      [
        'has another version',
        () => writeFile(join(directory, 'oci-layout'), '{"imageLayoutVersion":"2.0"}'),
        /its version is not 1/,
      ],
      ['has no index.json', () => rm(join(directory, 'index.json')), /its file "index.json" cannot be read/],
      [
        'has a pipe for an index.json, at which nobody waits',
        async () => {
          await rm(join(directory, 'index.json'));
          execFileSync('mkfifo', [join(directory, 'index.json')]);
        },
        /its file "index.json" cannot be read/,
      ],
      [
        'has an index.json that is a link out of it',
        async () => {
          const elsewhere = `${directory}-elsewhere`;
          await rename(join(directory, 'index.json'), elsewhere);
          await symlink(elsewhere, join(directory, 'index.json'));
          removed.push(elsewhere);
        },
        /its file "index.json" cannot be read/,
      ],
      [
        'has a link to a pipe for an index.json',
        async () => {
          await rm(join(directory, 'index.json'));
          execFileSync('mkfifo', [join(directory, 'pipe')]);
          await symlink('pipe', join(directory, 'index.json'));
        },
        /its file "index.json" cannot be read/,
      ],
      [
        'has an index.json of more than 64 MiB',
        () => writeFile(join(directory, 'index.json'), '{"manifests":[]}'.padEnd(64 * 1024 * 1024 + 1)),
        /its file "index.json" cannot be read/,
      ],
      [
        'has an index.json of something else',
        () => writeFile(join(directory, 'index.json'), '{"manifests":{"digest":"x"}}'),
        /has no list of manifests/,
      ],
    ];
    for (const [what, breakIt, message] of faults) {
      it(`reports that a directory is not a layout when it ${what}`, async () => {
        await breakIt();
        const error = await rejection(gateway.check());
        expect(error).to.be.instanceOf(UpstreamUnavailableError);
        expect(error.message).to.match(message).and.to.include(directory);
      });
    }
  });

  it('lists the images that a client can request', async () => {
    expect(await gateway.list()).to.deep.equal([image.digest]);
  });

  it('refuses a blob whose file has another size before the first byte', async () => {
    await truncate(layout.path(image.layer), 10);
    const error = await rejection(gateway.fetchBlob(UPSTREAM, image.layer.descriptor, 0, never));
    expect(error).to.be.instanceOf(UpstreamUnavailableError);
  });

  const impostors: [what: string, make: (path: string) => unknown][] = [
    ['a directory', (path) => mkdir(path)],
    ['a pipe, at which nobody waits,', (path) => execFileSync('mkfifo', [path])],
    [
      'a link',
      async (path) => {
        await writeFile(
          join(directory, 'elsewhere'),
          path === layout.path(image.layer) ? image.layer.bytes : image.manifest.bytes,
        );
        await symlink(join(directory, 'elsewhere'), path);
      },
    ],
  ];
  for (const [what, make] of impostors) {
    it(`does not read ${what} as a blob or a manifest`, async () => {
      for (const blob of [image.layer, image.manifest]) {
        await rm(layout.path(blob));
        await make(layout.path(blob));
        const failure =
          blob === image.layer
            ? gateway.fetchBlob(UPSTREAM, blob.descriptor, 0, never)
            : gateway.fetchManifest(UPSTREAM, image.digest, never);
        expect(await rejection(failure)).to.be.instanceOf(UpstreamUnavailableError);
      }
    });
  }

  it('refuses a manifest of more than 4 MiB', async () => {
    await truncate(layout.path(image.manifest), 4 * 1024 * 1024 + 1);
    expect(await rejection(gateway.fetchManifest(UPSTREAM, image.digest, never))).to.be.instanceOf(InvalidContentError);
  });
});
