/** The cached packages: the blobs of the store with the facts of the requests for them, filtered and sorted. */
import type { Digest } from '../../../domain/descriptor.ts';
import type { BlobInfo } from '../../../domain/ports/package-store.ts';
import { DEFAULT_REPOSITORY, type PackageRequest } from '../../../domain/reference.ts';
import { readParameters } from '../package/package-query.ts';
import { type ColumnOrder, type Inspection, placeText } from './parts.ts';

/** Takes some milliseconds for a page that is rendered each second. */
export const MAX_BLOBS = 5000;

export interface CachedPackage {
  /** A request that delivered the package; without its place, if `isPlaced` is false. */
  readonly request: PackageRequest;
  readonly isPlaced: boolean;
  readonly layer: BlobInfo;
}

interface Order {
  readonly text: string;
  /** The title of the column. */
  readonly column: string;
  readonly direction: 'ascending' | 'descending';
  /** Undefined for the order of the store. */
  readonly compare: ((one: CachedPackage, other: CachedPackage) => number) | undefined;
}

export const ORDERS = {
  used: { text: 'most recently used first', column: 'Last used', direction: 'descending', compare: undefined },
  package: {
    text: 'by repository and path',
    column: 'Package',
    direction: 'ascending',
    compare: (one, other) => compareTexts(placeText(one.request), placeText(other.request)),
  },
  digest: {
    text: 'by digest',
    column: 'Digest',
    direction: 'ascending',
    compare: (one, other) => compareTexts(one.request.digest, other.request.digest),
  },
  size: {
    text: 'largest first',
    column: 'Size',
    direction: 'descending',
    compare: (one, other) => other.layer.size - one.layer.size,
  },
  stored: {
    text: 'newest first',
    column: 'Stored',
    direction: 'descending',
    compare: (one, other) => other.layer.storedAt.getTime() - one.layer.storedAt.getTime(),
  },
  verified: {
    text: 'oldest verification first',
    column: 'Verified',
    direction: 'ascending',
    compare: (one, other) => (one.layer.verifiedAt?.getTime() ?? 0) - (other.layer.verifiedAt?.getTime() ?? 0),
  },
} as const satisfies Record<string, Order>;

/** The requested rows. */
export interface ListingQuery {
  readonly filter: string;
  readonly sort: keyof typeof ORDERS;
}

export interface Listed {
  readonly listing: ListingQuery;
  readonly packages: readonly CachedPackage[];
  readonly total: number;
  /** Blobs that no request has identified as packages, the last used first. */
  readonly others: readonly BlobInfo[];
}

/** An unknown order means the order of the last use. @throws InvalidArgumentError */
export function parseListing(query: string): ListingQuery {
  const { filter, sort } = readParameters(query, ['filter', 'sort']);
  return { filter: filter.trim(), sort: isOrder(sort) ? sort : 'used' };
}

export function listPackages({ store, packages, requests }: Inspection, listing: ListingQuery): Listed {
  const blobs = new Map(store.list(MAX_BLOBS).map((blob, rank) => [blob.digest, { blob, rank }]));
  const layers = new Set<Digest>();
  const ranked: { cached: CachedPackage; rank: number }[] = [];
  for (const { digest, layer } of packages.known()) {
    const found = blobs.get(layer.digest);
    if (found === undefined) continue;
    layers.add(layer.digest);
    const placed = requests.requestFor(digest);
    const request = placed ?? { digest, repository: DEFAULT_REPOSITORY, path: undefined };
    ranked.push({ cached: { request, isPlaced: placed !== undefined, layer: found.blob }, rank: found.rank });
  }
  const order: Order = ORDERS[listing.sort];
  const words = listing.filter.toLowerCase().split(/\s+/);
  const chosen = ranked
    .sort((one, other) => {
      const compared = order.compare?.(one.cached, other.cached) ?? 0;
      return compared === 0 ? one.rank - other.rank : compared;
    })
    .map(({ cached }) => cached)
    .filter(({ request, layer }) => {
      const text = `${placeText(request)} ${request.digest} ${layer.digest}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
  const others = [...blobs.values()].map(({ blob }) => blob).filter(({ digest }) => !layers.has(digest));
  return { listing, packages: chosen, total: chosen.length, others };
}

/** Returns a link for each order, which keeps the filter. */
export function orderLinks({ filter, sort }: ListingQuery): Readonly<Record<string, ColumnOrder>> {
  return Object.fromEntries(
    Object.entries(ORDERS).map(([name, { column, direction }]) => {
      const query = new URLSearchParams({ ...(filter !== '' && { filter }), sort: name }).toString();
      return [column, { href: `?${query}#packages`, current: name === sort ? direction : undefined }];
    }),
  );
}

function isOrder(name: string): name is ListingQuery['sort'] {
  return Object.hasOwn(ORDERS, name);
}

function compareTexts(one: string, other: string): number {
  return one < other ? -1 : Number(one > other);
}
