import { expect } from 'chai';
import { iconRouteOf } from '../../../../../src/adapters/http/icons/icon-route.ts';
import { parseIconPath } from '../../../../../src/adapters/http/icons/icon-path.ts';
import { RefusedError } from '../../../../../src/adapters/http/server/problem.ts';

describe('parseIconPath', () => {
  const at = (rest: string): string => `/v1/packages/${rest}`;
  const icon = { repository: 'main', package: 'a', version: undefined };

  const known: Readonly<Record<string, object>> = {
    'main/a/metadata/icon': icon,
    'main/a/metadata/icon/': icon,
    'main/a/metadata/icon/v1.0.0': { ...icon, version: 'v1.0.0' },
    'main/a/metadata/icon/1/': { ...icon, version: '1' },
    'main.example-1/my_package.x/metadata/icon/1.2-rc.1': {
      repository: 'main.example-1',
      package: 'my_package.x',
      version: '1.2-rc.1',
    },
    'm%61in/a/metadata/%69con/v1%2E0': { ...icon, version: 'v1.0' },
    [`${'a'.repeat(253)}/${'b'.repeat(255)}/metadata/icon`]: {
      repository: 'a'.repeat(253),
      package: 'b'.repeat(255),
      version: undefined,
    },
  };
  for (const [path, request] of Object.entries(known)) {
    it(`knows ${path.slice(0, 60)}`, () => {
      expect(parseIconPath(at(path))).to.deep.equal(request);
      expect(iconRouteOf(at(path))).to.equal('/v1/packages/icon');
    });
  }

  const unknown = [
    '',
    'main',
    'main/a',
    'main/a/metadata',
    'main/a/metadata/',
    'main/a/metadata/readme',
    'main/a/icon',
    'main//metadata/icon',
    '/a/metadata/icon',
    'main/a/metadata/icon//',
    'main/a/metadata//icon',
    'main/a/metadata/icon/v1.0.0/x',
    'main/a/metadata/icon/latest',
    'main/a/metadata/icon/v1.0.0+build',
    'main/a/metadata/icon/1.2.3.4',
    'main/a/metadata/iconx',
    'main/a/metadata/icon/..',
    'main/../metadata/icon',
    './a/metadata/icon',
    'main/a%2fb/metadata/icon',
    'main/a%00/metadata/icon',
    'main/a%/metadata/icon',
    'main/a%252fb/metadata/icon',
    'Main/a/metadata/icon',
    'main_1/a/metadata/icon',
    '-main/a/metadata/icon',
    'main:80/a/metadata/icon',
    'main..x/a/metadata/icon',
    `${'a'.repeat(254)}/a/metadata/icon`,
    'main/A/metadata/icon',
    'main/-a/metadata/icon',
    'main/a:b/metadata/icon',
    `main/${'b'.repeat(256)}/metadata/icon`,
    'main/a/metadata/icon/v1%0d%0a',
  ];
  for (const path of unknown) {
    it(`refuses ${JSON.stringify(path.slice(0, 60))}`, () => {
      expect(() => parseIconPath(at(path))).to.throw(RefusedError, 'bad request');
      expect(iconRouteOf(at(path))).to.equal(undefined);
    });
  }
});
