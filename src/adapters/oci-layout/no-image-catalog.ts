/** ImageCatalog of an OCI image layout: its images are known by digest, and it has no repositories with tags. */
import { PackageUnknownError } from '../../domain/errors.ts';
import type { ImageCatalog } from '../../domain/ports/image-catalog.ts';

export class NoImageCatalog implements ImageCatalog {
  listTags(): Promise<never> {
    return Promise.reject(new PackageUnknownError('MANIFEST_UNKNOWN'));
  }

  fetchTagged(): Promise<never> {
    return Promise.reject(new PackageUnknownError('MANIFEST_UNKNOWN'));
  }

  listReferrers(): Promise<readonly []> {
    return Promise.resolve([]);
  }
}
