import axe from 'axe-core';
import { expect } from 'chai';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core';
import { eventually } from '../support/eventually.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { HeldLayer } from '../support/held-layer.ts';
import { makePackage } from '../support/image.ts';
import { describeWith } from '../support/peers/binaries.ts';
import { openBrowser } from '../support/peers/browser.ts';
import { ServiceProcess } from '../support/service-process.ts';

const KIB = 1024;
const IMAGES = join(import.meta.dirname, '../../docs/images');
const LAPTOP = { width: 1280, height: 1368 };
const PHONE = { width: 390, height: 844 };

describeWith('chromium', (path) => {
  describe('the status page in a browser', () => {
    const cached = [makePackage(700 * KIB, 1), makePackage(5400 * KIB, 2), makePackage(11_000 * KIB, 3)];
    const arriving = makePackage(24_000 * KIB, 4);
    let browser: Browser;
    let registry: FakeRegistry;
    let service: ServiceProcess;
    let held: HeldLayer;
    let client: Promise<unknown>;
    /** The requests of the pages, and their errors. */
    let requested: string[];
    let complaints: string[];

    before(async () => {
      browser = await openBrowser(path);
    });
    after(() => browser.close());

    beforeEach(async () => {
      requested = [];
      complaints = [];
      registry = await FakeRegistry.start({ auth: 'basic' });
      registry.publish(...cached, arriving);
      held = new HeldLayer(registry, arriving);
      const password = { username: 'robot', password: 'canary-pass:word' };
      service = await ServiceProcess.start({
        settings: {
          server: { shutdownTimeoutSeconds: 0 },
          registry: { timeouts: { retrySeconds: 0 } },
          store: { directory: 'cache', maxSize: '256Mi' },
          credentials: {
            registries: [
              { repo: 'registry.example/deckhouse/ee', default: true, scheme: 'HTTP', ...password },
              { repo: 'registry.example/modules', scheme: 'HTTP', ...password },
              { repo: 'mirror.example/public', scheme: 'HTTP' },
            ],
          },
        },
        environment: { HTTP_PROXY: registry.origin, NODE_NAME: 'master-0' },
      });
      for (const [index, { digest }] of cached.entries()) {
        for (let times = 0; times <= index; times++) await service.client(`package?digest=${digest}`).buffer();
      }
      client = service.client(
        `package?digest=${arriving.digest}&repository=registry.example/modules&path=ingress-nginx`,
      );
      client.catch(() => undefined);
      await held.sendUpTo(0.25);
    });
    afterEach(async () => {
      for (const context of browser.contexts()) await context.close();
      await service.close();
      await registry.close();
      expect(complaints, 'errors in the console').to.deep.equal([]);
      expect(requested.filter((url) => !url.startsWith(`http://localhost:`) && !url.startsWith('data:'))).to.deep.equal(
        [],
      );
    });

    async function open(
      query = '',
      options: BrowserContextOptions = {},
      prepare?: (page: Page) => Promise<void>,
    ): Promise<Page> {
      const page = await browser.newPage({ viewport: LAPTOP, ...options });
      page.setDefaultTimeout(10_000);
      page.on('request', (request) => requested.push(request.url()));
      page.on('pageerror', (error) => complaints.push(error.message));
      page.on('console', (message) => {
        if (message.type() !== 'log') complaints.push(message.text());
      });
      await prepare?.(page);
      await page.goto(`http://localhost:${String(service.port)}/status${query}`);
      return page;
    }

    const bar = (page: Page): Locator => page.getByRole('progressbar', { name: `Download of ${arriving.digest}` });
    const share = async (page: Page): Promise<number> =>
      Number(await bar(page).getAttribute('value')) / arriving.layer.descriptor.size;
    const row = (page: Page, digest: string): Locator =>
      page.getByRole('region', { name: 'Packages in the cache' }).getByRole('row').filter({ hasText: digest });
    const focused = (page: Page): Promise<unknown> => page.evaluate('document.activeElement.id');

    /** By the keyboard alone, as a user without a mouse does. */
    async function tabTo(page: Page, id: string): Promise<void> {
      for (let stops = 0; stops < 40; stops++) {
        if ((await focused(page)) === id) return;
        await page.keyboard.press('Tab');
      }
      throw new Error(`no way to ${id}`);
    }

    it('moves the bar of a download, and lists the package after its arrival, without a reload', async () => {
      const page = await open();
      await page.evaluate('window.isSamePage = true');
      await eventually(async () => expect(await share(page)).to.be.closeTo(0.25, 0.02));
      await held.sendUpTo(0.6);
      await eventually(async () => expect(await share(page)).to.be.closeTo(0.6, 0.02));
      const { digest } = arriving.layer.descriptor;
      expect(await row(page, digest).count()).to.equal(0);
      await held.sendUpTo(1);
      await client;
      await row(page, digest).waitFor();
      expect(await row(page, digest).textContent()).to.include('23.4 MiB');
      expect(await bar(page).count()).to.equal(0);
      expect(await page.getByText('Nothing is being downloaded into the cache.').isVisible()).to.equal(true);
      expect(await page.evaluate('window.isSamePage')).to.equal(true);
    });

    it('explains a request to a user without a mouse, and moves the focus back to the mistake', async () => {
      const page = await open();
      await page.keyboard.press('Tab');
      expect(await page.getByRole('link', { name: 'Skip to content' }).evaluate(isFocused)).to.equal(true);
      await tabTo(page, 'ask-digest');
      await page.keyboard.type('latest');
      await page.keyboard.press('Enter');
      await page.getByText('digest must be "sha256:" and 64 lower-case hex digits').waitFor();
      const input = page.getByRole('textbox', { name: 'Digest' });
      expect(await input.evaluate(isFocused)).to.equal(true);
      expect(await input.getAttribute('aria-invalid')).to.equal('true');
      expect(await input.inputValue()).to.equal('latest');
      // The only expected message is that of Chromium about the status 400.
      expect(complaints.splice(0).join()).to.match(/^Failed to load resource: .* 400 \(Bad Request\)$/);
      await page.keyboard.press('Control+A');
      await page.keyboard.type(arriving.digest);
      await tabTo(page, 'ask-path');
      await page.keyboard.type('ingress-nginx');
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await page.getByRole('heading', { name: 'Now it would ✓ succeed (miss)' }).waitFor();
      expect(new URL(page.url()).searchParams.get('path')).to.equal('ingress-nginx');
      await page.getByText('http://registry.example/deckhouse/ee/ingress-nginx').waitFor();
    });

    it('keeps the input and the focus of a user while it changes', async () => {
      const page = await open();
      const link = page
        .getByRole('region', { name: 'Packages in the cache' })
        .getByRole('row')
        .getByRole('link')
        .last();
      const input = page.getByRole('textbox', { name: 'Path' });
      await input.fill('half a wo');
      await link.focus();
      const href = await link.getAttribute('href');
      await held.sendUpTo(1);
      await client;
      await row(page, arriving.layer.descriptor.digest).waitFor();
      expect(await page.evaluate('document.activeElement.getAttribute("href")')).to.equal(href);
      expect(await input.inputValue()).to.equal('half a wo');
    });

    it('sends no request while it is paused, and updates itself afterwards', async () => {
      const page = await open('', {}, (opened) => opened.clock.install());
      await page.getByRole('button', { name: 'Pause updates' }).press('Enter');
      // Requests sent before this have been seen when the page has answered.
      await page.clock.runFor(1);
      const asked = requested.length;
      await held.sendUpTo(0.6);
      await page.clock.runFor(600_000);
      expect(requested).to.have.lengthOf(asked);
      await page.getByRole('button', { name: 'Resume updates' }).press('Enter');
      await eventually(async () => expect(await share(page)).to.be.closeTo(0.6, 0.02));
    });

    it('sends no request while it is hidden', async () => {
      const page = await open('', {}, (opened) => opened.clock.install());
      const show = (isShown: boolean): Promise<unknown> =>
        page.evaluate(`Object.defineProperty(document, 'hidden', { value: ${String(!isShown)}, configurable: true });
          document.dispatchEvent(new Event('visibilitychange'));`);
      await show(false);
      const asked = requested.length;
      await page.clock.runFor(600_000);
      expect(requested).to.have.lengthOf(asked);
      await show(true);
      await eventually(async () => expect(requested.length).to.be.greaterThan(asked));
    });

    it('shows that the service does not answer, increases the interval of its requests, and recovers', async () => {
      const page = await open('', {}, (opened) => opened.clock.install());
      await page.route('**/status', (route) => route.abort());
      await page.clock.runFor(1000);
      await page.getByRole('status').getByText('The service does not answer').waitFor();
      const asked = requested.length;
      for (let second = 0; second < 60; second++) {
        await page.clock.runFor(1000);
        await page.evaluate('Promise.resolve()');
      }
      expect(requested.length - asked).to.be.within(2, 8);
      await page.unroute('**/status');
      // The clock advances in small steps, because it also runs the time-out of the requests.
      await eventually(async () => {
        await page.clock.runFor(500);
        expect(await page.getByRole('status').textContent()).to.equal('');
      }, 30_000);
      const refused = complaints.splice(0);
      expect(refused.filter((text) => text !== 'Failed to load resource: net::ERR_FAILED')).to.deep.equal([]);
    });

    it('is complete without its script', async () => {
      const page = await open('', { javaScriptEnabled: false });
      expect(await share(page)).to.be.closeTo(0.25, 0.02);
      expect(await page.getByRole('button', { name: 'Pause updates' }).count()).to.equal(0);
      await row(page, cached[0]?.layer.descriptor.digest ?? '').waitFor();
      await page.getByRole('textbox', { name: 'Digest' }).fill(cached[0]?.digest ?? '');
      await page.getByRole('button', { name: 'Explain' }).press('Enter');
      await page.getByRole('heading', { name: 'Now it would ✓ succeed (hit)' }).waitFor();
      await held.sendUpTo(0.6);
      await eventually(async () => {
        await page.reload();
        expect(await share(page)).to.be.closeTo(0.6, 0.02);
      });
    });

    it('runs no foreign script, not even a package of the same origin', async () => {
      const page = await open();
      const source = `http://localhost:${String(service.port)}/package?digest=${cached[0]?.digest ?? ''}`;
      const blocked = await page.evaluate(`new Promise((resolve) => {
        document.addEventListener('securitypolicyviolation', ({ blockedURI }) => { resolve(blockedURI); });
        document.body.append(Object.assign(document.createElement('script'), { src: ${JSON.stringify(source)} }));
      })`);
      expect(blocked).to.equal(source);
      expect(complaints.splice(0)[0]).to.include('violates the following Content Security Policy directive');
    });

    for (const colorScheme of ['light', 'dark'] as const) {
      for (const viewport of [LAPTOP, PHONE]) {
        it(`is accessible, ${colorScheme}, ${String(viewport.width)} pixels wide`, async () => {
          await service.client(`package?digest=${makePackage(1).digest}&repository=registry.example/nowhere`);
          await service.client(`package?digest=${makePackage(1).digest}&path=modules/gone`);
          for (const query of ['', `?digest=${arriving.digest}`, `?digest=latest`]) {
            const page = await open(query, { colorScheme, viewport });
            // The value of an evaluation is sent to this process, and axe and its report are large.
            await page.evaluate(`${axe.source}; true`);
            const faults = await page.evaluate<string[]>(
              `axe.run({ resultTypes: ['violations'] }).then(({ violations }) =>
                violations.map(({ id, nodes }) => id + ': ' + nodes[0].html))`,
            );
            expect(faults).to.deep.equal([]);
            const [background, overflow] = await page.evaluate<[string, number]>(
              '[getComputedStyle(document.documentElement).backgroundColor, document.documentElement.scrollWidth - innerWidth]',
            );
            expect(background).to.equal(colorScheme === 'light' ? 'rgb(246, 247, 249)' : 'rgb(18, 21, 27)');
            expect(overflow).to.be.at.most(0);
          }
          complaints = complaints.filter((text) => !text.includes('400 (Bad Request)'));
        });
      }

      it(`is drawn for the documents, ${colorScheme}`, async () => {
        const file = join(IMAGES, colorScheme === 'light' ? 'status.png' : 'status-dark.png');
        if (process.env['PICTURES'] === '1') {
          for (let times = 0; times < 3; times++) {
            await service.client(`package?digest=${makePackage(1).digest}&path=modules/gone`);
          }
          await held.sendUpTo(0.62);
          const page = await open('', { colorScheme });
          await eventually(async () => expect(await share(page)).to.be.closeTo(0.62, 0.02));
          await page.screenshot({ path: file });
        }
        expect(statSync(file).size).to.be.within(20 * KIB, 200 * KIB);
      });
    }
  });
});

function isFocused(element: unknown): boolean {
  return element === (globalThis as unknown as { document: { activeElement: unknown } }).document.activeElement;
}
