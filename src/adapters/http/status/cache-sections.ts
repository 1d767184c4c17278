/** The sections of cached packages, running downloads and hits. */
import type { Download } from '../../../application/downloads.ts';
import { digestText, type Inspection, list, MAX_ROWS, packageLink, placeText, type Section } from './parts.ts';
import type { SlotUsage } from '../../../application/download-slots.ts';
import type { Digest } from '../../../domain/descriptor.ts';
import { DEFAULT_REPOSITORY, type Package } from '../../../domain/reference.ts';
import type { BlobInfo } from '../../../domain/ports/package-store.ts';
import { html, type Html } from './html.ts';
import { ageOf, countText, shareText, sizeText, spanText } from './quantities.ts';

export function overviewSection({ store: { usage }, requests: { outcomes } }: Inspection): Section {
  const { hit, miss, joined, bypass } = outcomes;
  const requests = hit + miss + joined + bypass;
  const figure = (term: string, count: number, remark: string): Html =>
    html`<div>
      <dt>${term}</dt>
      <dd>${countText(count)}</dd>
      <dd>${remark}</dd>
    </div>`;
  const disk =
    usage.maxBytes === 0
      ? html`<dd>off</dd>
          <dd>nothing is kept</dd>`
      : html`<dd>${sizeText(usage.bytes)}</dd>
          <dd>
            <meter max="${usage.maxBytes}" value="${usage.bytes}" aria-label="Cache in use"></meter>
            ${shareText(usage.bytes, usage.maxBytes)} of ${sizeText(usage.maxBytes)}; ${countText(usage.entries)} blobs
          </dd>`;
  return {
    id: 'overview',
    title: 'Overview',
    isLive: true,
    content: html`<dl class="figures">
      <div class="wide">
        <dt>Cache</dt>
        ${disk}
      </div>
      ${figure('Hits', hit, `${shareText(hit, requests)} of ${countText(requests)}`)}
      ${figure('Misses', miss, 'downloads begun')} ${figure('Joined', joined, 'shared a download')}
      ${figure('Bypassed', bypass, 'could not be kept')}
      ${figure('Evicted', usage.evicted, `${countText(usage.damaged)} found damaged`)}
    </dl>`,
  };
}

export function downloadsSection({ downloads }: Inspection, now: Date): Section {
  return {
    id: 'downloads',
    title: 'Downloads in progress',
    isLive: true,
    content: html`${slotsText(downloads.slots)}
    ${list({
      heading: 'downloads-title',
      columns: { Package: 'text', From: 'text', Progress: 'text', Clients: 'number', Begun: 'text' },
      items: downloads.list(),
      row: (download) => downloadRow(download, now),
      none: 'Nothing is being downloaded into the cache.',
      rest: 'more',
    })}`,
  };
}

/** Packages that pass through are counted here, too, and are not in the list. */
function slotsText({ max, running, idle, queued, revoked }: SlotUsage): Html {
  const ended = revoked === 0 ? '' : `; ${countText(revoked)} without a client ended for others since the start`;
  return html`<p>
    ${countText(running)} of ${countText(max)} parallel downloads, ${countText(idle)} without a waiting client;
    ${countText(queued)} in the queue${ended}.
  </p>`;
}

function downloadRow({ request, layer, bytes, startedAt, clients, isQueued }: Download, now: Date): Html {
  const elapsed = now.getTime() - startedAt.getTime();
  const isTimed = bytes > 0 && elapsed > 1000;
  const rest = isTimed ? `, ${spanText(((layer.size - bytes) * elapsed) / bytes)} left` : '';
  const progress = isQueued
    ? html`<small>in the queue, ${sizeText(layer.size)}</small>`
    : html`<progress max="${layer.size}" value="${bytes}" aria-label="Download of ${request.digest}"></progress>
        <small>${sizeText(bytes)} of ${sizeText(layer.size)}, ${shareText(bytes, layer.size)}${rest}</small>`;
  return html`<tr id="download-${layer.digest}-${startedAt.getTime()}">
    <th scope="row">${packageLink(request)}</th>
    <td>${placeText(request)}</td>
    <td class="bar">${progress}</td>
    <td class="number">${countText(clients)}</td>
    <td class="when">${ageOf(startedAt, now)}</td>
  </tr>`;
}

export function cacheSection({ store, packages }: Inspection, now: Date): Section {
  const known = packages.known();
  const names = {
    layers: new Map(known.map((found) => [found.layer.digest, found])),
    manifests: new Set(known.map(({ digest }) => digest)),
  };
  return {
    id: 'cache',
    title: 'Cached',
    isLive: true,
    content: list({
      heading: 'cache-title',
      columns: { Blob: 'text', Kind: 'text', Size: 'number', Stored: 'text', 'Last used': 'text', Verified: 'text' },
      items: store.list(MAX_ROWS),
      total: store.usage.entries,
      row: (blob) => blobRow(blob, names, now),
      none: 'Nothing is cached.',
      rest: 'more that were used longer ago',
    }),
  };
}

interface Names {
  readonly layers: ReadonlyMap<Digest, Package>;
  readonly manifests: ReadonlySet<Digest>;
}

function blobRow({ digest, size, storedAt, usedAt, verifiedAt }: BlobInfo, names: Names, now: Date): Html {
  const { name, kind } = describe(digest, names);
  return html`<tr id="blob-${digest}">
    <th scope="row">${name}</th>
    <td>${kind}</td>
    <td class="number">${sizeText(size)}</td>
    <td class="when">${ageOf(storedAt, now)}</td>
    <td class="when">${ageOf(usedAt, now)}</td>
    <td class="when">${verifiedAt === undefined ? 'not yet' : ageOf(verifiedAt, now)}</td>
  </tr>`;
}

/** A blob itself does not tell what it is; requests do. */
function describe(digest: Digest, { layers, manifests }: Names): { readonly name: Html; readonly kind: Html } {
  const link = (asked: Digest): Html => packageLink({ digest: asked, repository: DEFAULT_REPOSITORY, path: undefined });
  if (manifests.has(digest)) return { name: link(digest), kind: html`manifest` };
  const asked = layers.get(digest)?.digest;
  return {
    name: digestText(digest),
    kind: asked === undefined ? html`<span class="quiet">not asked for yet</span>` : html`layer of ${link(asked)}`,
  };
}
