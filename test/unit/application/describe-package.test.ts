import { expect } from 'chai';
import sinon from 'sinon';
import { DescribePackage } from '../../../src/application/describe-package.ts';
import { GetPackage } from '../../../src/application/get-package.ts';
import { ResolvePackage } from '../../../src/application/resolve-package.ts';
import { DEFAULT_REPOSITORY } from '../../../src/domain/reference.ts';
import { makePackage } from '../../support/image.ts';
import { MemoryPackageStore } from '../../support/memory-package-store.ts';
import { stubCredentials, stubGateway } from '../../support/ports.ts';
import { readAll } from '../../support/source.ts';

describe('DescribePackage', () => {
  it('says what a package is and since when it lies here, and moves no blob', async () => {
    const image = makePackage(100_000);
    const gateway = stubGateway(image);
    const store = new MemoryPackageStore();
    const stopping = new AbortController().signal;
    const ports = { store, gateway, credentials: stubCredentials(), parallelDownloads: 64, stopping };
    const resolve = new ResolvePackage({ ...ports, platform: { os: 'linux', architecture: 'amd64' } });
    const describePackage = new DescribePackage({ resolve, store });
    const request = { digest: image.digest, repository: DEFAULT_REPOSITORY, path: undefined };

    const before = await describePackage.execute(request);
    expect(before).to.deep.equal({
      package: { digest: image.digest, layer: image.layer.descriptor },
      storedAt: undefined,
    });
    sinon.assert.notCalled(gateway.fetchBlob);

    await readAll((await new GetPackage({ ...ports, resolve }).execute(request)).blob);
    expect((await describePackage.execute(request)).storedAt).to.be.instanceOf(Date);
  });
});
