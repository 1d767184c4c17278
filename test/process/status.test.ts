import { expect } from 'chai';
import { FakeRegistry, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { HeldLayer } from '../support/held-layer.ts';
import { makePackage } from '../support/image.ts';
import { eventually } from '../support/eventually.ts';
import { ServiceProcess } from '../support/service-process.ts';

describe('GET /status of the service', () => {
  // The client of ServiceProcess looks for secrets in each page.
  it('shows the packages and downloads without secrets, and its requests are not logged', async () => {
    const registry = await FakeRegistry.start({ auth: 'basic' });
    const [cached, arriving, absent] = [makePackage(70_000, 1), makePackage(400_000, 2), makePackage(1, 3)];
    registry.publish(cached, arriving);
    const held = new HeldLayer(registry, arriving);
    const repo = `${registry.host}/deckhouse/ee`;
    const registries = [{ repo, default: true, scheme: 'HTTP', username: USERNAME, password: PASSWORD }];
    const service = await ServiceProcess.start({ settings: { credentials: { registries } } });
    const page = (): Promise<string> => service.client('status').text();

    await service.client(`package?digest=${cached.digest}`).buffer();
    await service.client(`package?digest=${cached.digest}`).buffer();
    await service.client(`package?digest=${absent.digest}&path=modules/gone`);
    const download = service.client(`package?digest=${arriving.digest}`).buffer();
    await held.sendUpTo(0.5);
    await eventually(async () => expect(await page()).to.match(/<progress\s+max="400000"\s+value="200000"/));
    const text = (await page()).replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ');
    expect(text).to.include('Hits 1 50 % of 2 Misses 1');
    expect(text).to.include(`default registry ${cached.digest} layer ${cached.layer.descriptor.digest} 68.4 KiB`);
    expect(text).to.include(`${repo}, default registry http://${repo} user ${USERNAME} settings`);
    expect(text).to.include('package not found').and.include('default registry / modules/gone');

    await held.sendUpTo(1);
    await download;
    await eventually(async () => expect(await page()).to.include(`package-${arriving.digest}`));
    expect(await page()).not.to.include('<progress');
    expect(service.output).not.to.include('"route":"/status"');
    await service.close();
    await registry.close();
  });
});
