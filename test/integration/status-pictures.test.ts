import axe from 'axe-core';
import { expect } from 'chai';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { eventually } from '../support/eventually.ts';
import { FakeRegistry, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { HeldLayer } from '../support/held-layer.ts';
import { makePackage, type TestImage } from '../support/image.ts';
import { describeWith } from '../support/peers/binaries.ts';
import { openBrowser } from '../support/peers/browser.ts';
import { ServiceProcess } from '../support/service-process.ts';

/** The directory for pictures of each page, which PICTURES=1 writes. */
const PICTURES = join(import.meta.dirname, '../../.cache/status-pictures');
const WIDTHS = [375, 1280, 2560];
const SCHEMES = ['light', 'dark'] as const;

describeWith('chromium', (path) => {
  describe('the status page, at the widths of a phone, a laptop and a wide screen', () => {
    const [arriving, broken] = [makePackage(24_000_000, 901), makePackage(300_000, 902)];
    let browser: Browser;
    let registry: FakeRegistry;
    let service: ServiceProcess;

    before(async () => {
      browser = await openBrowser(path);
      if (process.env['PICTURES'] === '1') await mkdir(PICTURES, { recursive: true });
    });
    after(() => browser.close());

    beforeEach(async () => {
      registry = await FakeRegistry.start({ auth: 'basic' });
      const access = { scheme: 'HTTP', username: USERNAME, password: PASSWORD };
      const registries = [
        { repo: 'registry.example/deckhouse/ee', default: true, ...access },
        { repo: 'registry.example/deckhouse/ee/modules', ...access },
        { repo: 'mirror.example/public', scheme: 'HTTP' },
      ];
      service = await ServiceProcess.start({
        settings: { registry: { timeouts: { retrySeconds: 0 } }, credentials: { registries } },
        environment: {
          HTTP_PROXY: registry.origin,
          NODE_NAME: 'cluster-master-0.example',
          POD_NAME: 'registry-packages-proxy-6d9c8f7b5-x2k4w',
        },
      });
    });
    afterEach(async () => {
      for (const context of browser.contexts()) await context.close();
      await service.close();
      await registry.close();
    });

    async function fetchAll(images: readonly TestImage[]): Promise<void> {
      registry.publish(...images);
      for (const [index, { digest }] of images.entries()) {
        const place =
          index % 2 === 0 ? '' : `&repository=registry.example/deckhouse/ee/modules&path=module-${String(index)}`;
        expect((await service.client(`package?digest=${digest}${place}`)).statusCode).to.equal(200);
      }
    }

    /** Runs checks on the page at each width, in the light and in the dark scheme. */
    async function inspect(name: string, look: (page: Page, width: number) => Promise<void>): Promise<void> {
      for (const width of WIDTHS) {
        for (const colorScheme of SCHEMES) {
          const viewport = { width, height: width === 375 ? 812 : 1200 };
          const page = await browser.newPage({ viewport, colorScheme, javaScriptEnabled: true });
          await page.goto(`http://localhost:${String(service.port)}/`);
          await look(page, width);
          const overflow = await page.evaluate<number>('document.documentElement.scrollWidth - innerWidth');
          expect(overflow, `${name} is wider than ${String(width)}`).to.be.at.most(0);
          if (process.env['PICTURES'] === '1') {
            const file = `${name}-${String(width)}-${colorScheme}.png`;
            await page.screenshot({ path: join(PICTURES, file), fullPage: true });
          }
          await page.evaluate(`${axe.source}; true`);
          const faults = await page.evaluate<string[]>(
            `axe.run({ resultTypes: ['violations'] }).then(({ violations }) =>
              violations.map(({ id, nodes }) => id + ': ' + nodes[0].html))`,
          );
          expect(faults, `${name}, ${String(width)}, ${colorScheme}`).to.deep.equal([]);
          await page.context().close();
        }
      }
    }

    for (const count of [0, 1, 200]) {
      it(`shows all columns of ${String(count)} packages, and is linked from the root`, async function () {
        this.timeout(180_000);
        await fetchAll(Array.from({ length: count }, (_, index) => makePackage(1000 + 997 * index, index + 1)));
        await inspect(`packages-${String(count)}`, async (page, width) => {
          expect(new URL(page.url()).pathname).to.equal('/status');
          expect(await page.title()).to.equal('cluster-master-0.example: status of registry-packages-proxy');
          expect(await page.locator('tr[id^="package-"]').count()).to.equal(count);
          if (width !== 2560) return;
          const cut = await page.evaluate<number>(
            `[...document.querySelectorAll('.digest')].filter((each) => each.scrollWidth > each.clientWidth + 1).length`,
          );
          expect(cut, 'digests that are cut off').to.equal(0);
        });
      });
    }

    it('shows the bar of a download and the reason of a failure without a shift of the layout', async function () {
      this.timeout(120_000);
      registry.publish(arriving, broken);
      const held = new HeldLayer(registry, arriving);
      registry.script(({ url }, response) => {
        if (!url.endsWith(`/blobs/${broken.layer.descriptor.digest}`)) return false;
        response.writeHead(500).end();
        return true;
      });
      await fetchAll([makePackage(5_000_000, 1), makePackage(700_000, 2)]);
      const client = service.client(`package?digest=${arriving.digest}&path=modules/ingress-nginx`);
      client.catch(() => undefined);
      await held.sendUpTo(0.4);
      expect((await service.client(`package?digest=${broken.digest}&path=modules/cni-cilium`)).statusCode).to.equal(
        502,
      );
      await inspect('downloads', async (page, width) => {
        const bar = page.getByRole('progressbar', { name: `Download of ${arriving.digest}` });
        await eventually(async () => expect(Number(await bar.getAttribute('value'))).to.be.greaterThan(9_000_000));
        await page.getByRole('link', { name: '✗ 1 failed request in the last hour' }).waitFor();
        const reason = page.getByRole('region', { name: 'Failures' }).getByText('registry is unavailable').first();
        for (const part of [bar, reason]) {
          const box = await part.boundingBox();
          expect(box?.x).to.be.at.least(0);
          expect((box?.x ?? 0) + (box?.width ?? Infinity)).to.be.at.most(width);
        }
      });
    });

    it('filters and orders its packages with only the keyboard, without its script', async () => {
      await fetchAll([1, 2, 3, 4].map((seed) => makePackage(1000 * seed, seed)));
      const page = await browser.newPage({ javaScriptEnabled: false });
      await page.goto(`http://localhost:${String(service.port)}/status`);
      await page.getByRole('searchbox', { name: 'Filter' }).focus();
      await page.keyboard.type('module-');
      await page.keyboard.press('Enter');
      const sizes = (): Promise<string[]> => page.locator('tr[id^="package-"] td:nth-child(3)').allTextContents();
      await eventually(async () => expect(await sizes()).to.deep.equal(['3.91 KiB', '1.95 KiB']));
      await page.getByRole('columnheader', { name: 'Package' }).getByRole('link').focus();
      await page.keyboard.press('Enter');
      await eventually(async () => expect(await sizes()).to.deep.equal(['1.95 KiB', '3.91 KiB']));
      expect(await page.getByRole('searchbox', { name: 'Filter' }).inputValue()).to.equal('module-');
    });
  });
});
