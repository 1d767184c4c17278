/** Creates a base image without a registry: Node with its libraries from Debian. */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, globSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The path of Node in distroless images. */
const NODE = 'nodejs/bin/node';

/** The files of distroless; /etc/passwd has no line for the user of our image. */
const FILES = {
  'etc/passwd':
    'root:x:0:0:root:/root:/sbin/nologin\n' +
    'nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n' +
    'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n',
  'etc/group': 'root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n',
  'etc/nsswitch.conf': 'hosts: files dns\n',
};

/** Files that only terminals and scripts need. */
const UNWANTED = [
  'etc/{profile.d,skel,update-motd.d,issue*}',
  'usr/lib/*-linux-gnu/{gconv,audit}',
  'usr/share/{base-files,gcc,gdb,lintian}',
  'usr/share/doc/*/!(copyright)',
];

/** Creates the directory with the Node that runs this program and packages of the Debian release of this host. */
export function createBase(root: string, packages: string): void {
  mkdirSync(root, { recursive: true });
  for (const file of download(packages)) {
    execFileSync('dpkg-deb', ['--extract', file, root]);
    // Scanners read these files to find the installed packages.
    const control = execFileSync('dpkg-deb', ['--field', file], { encoding: 'utf8' });
    const [, name = ''] = /^Package: (.*)$/m.exec(control) ?? [];
    write(root, `var/lib/dpkg/status.d/${name}`, control);
  }
  for (const path of globSync(UNWANTED, { cwd: root })) rmSync(join(root, path), { recursive: true, force: true });
  for (const [path, text] of Object.entries(FILES)) write(root, path, text);
  mkdirSync(join(root, NODE, '..'), { recursive: true });
  copyFileSync(process.execPath, join(root, NODE));
  chmodSync(join(root, NODE), 0o755);
}

/** Downloads the packages; returns their paths, dependencies first. */
function download(directory: string): string[] {
  mkdirSync(directory, { recursive: true });
  const get = (...names: string[]): string[] => {
    execFileSync('apt-get', ['download', ...names], { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] });
    return names.map((name) => {
      const [file = ''] = globSync(`${name}_*.deb`, { cwd: directory });
      return join(directory, file);
    });
  };
  const files = get('base-files', 'libc6', 'libgcc-s1', 'libstdc++6');
  // The licence of the libraries of GCC is in another package, whose name contains a version.
  const depends = execFileSync('dpkg-deb', ['--field', files[2] ?? '', 'Depends'], { encoding: 'utf8' });
  const [compiler = ''] = /gcc-\d+-base/.exec(depends) ?? [];
  return [...files, ...get(compiler)];
}

function write(root: string, path: string, text: string): void {
  mkdirSync(join(root, path, '..'), { recursive: true });
  writeFileSync(join(root, path), text);
}
