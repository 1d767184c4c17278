/** The sections of running downloads, of packages and of other blobs. */
import type { Download } from '../../../application/downloads.ts';
import type { SlotUsage } from '../../../application/download-slots.ts';
import type { BlobInfo } from '../../../domain/ports/package-store.ts';
import { digestText, type Inspection, list, packageLink, placeText, type Row, type Section } from './parts.ts';
import { html, type Html } from './html.ts';
import { type CachedPackage, type Listed, MAX_BLOBS, ORDERS, orderLinks } from './cached-packages.ts';
import { ageOf, countText, shareText, sizeText, spanText } from './quantities.ts';

/** A source that is silent for longer than this gets a remark. */
const SILENCE_MS = 5000;

export function downloadsSection({ downloads }: Inspection, now: Date): Section {
  return {
    id: 'downloads',
    title: 'Downloads in progress',
    isLive: true,
    content: html`${slotsText(downloads.slots)}
    ${list({
      heading: 'downloads-title',
      columns: { Package: 'text', From: 'text', Progress: 'bar', 'Clients waiting': 'number', Begun: 'when' },
      items: downloads.list(),
      row: (download) => downloadRow(download, now),
      none: 'Nothing is being downloaded into the cache.',
      rest: 'more',
    })}`,
  };
}

/** Packages that pass through are counted here, too, and are not in the list. */
function slotsText({ max, running, idle, queued, revoked }: SlotUsage): Html {
  const ended = revoked === 0 ? '' : `; since the start ${countText(revoked)} without a client were ended for others`;
  return html`<p>
    ${countText(running)} of ${countText(max)} parallel downloads, ${countText(idle)} without a waiting client;
    ${countText(queued)} in the queue${ended}.
  </p>`;
}

function downloadRow(download: Download, now: Date): Row {
  const { request, layer, bytes, startedAt, clients, isQueued } = download;
  const progress = isQueued
    ? html`<small>in the queue, ${sizeText(layer.size)}</small>`
    : html`<progress max="${layer.size}" value="${bytes}" aria-label="Download of ${request.digest}"></progress>
        <small>
          ${sizeText(bytes)} of ${sizeText(layer.size)}, ${shareText(bytes, layer.size)}${paceText(download, now)}
          ${silence(download, now)}
        </small>`;
  return {
    id: `download-${layer.digest}-${String(startedAt.getTime())}`,
    cells: [packageLink(request), placeText(request), progress, countText(clients), ageOf(startedAt, now)],
  };
}

/** The mean speed since the registry began to answer, and the remaining time at that speed. */
function paceText({ source, bytes, layer }: Download, now: Date): string {
  const elapsed = now.getTime() - (source?.openedAt.getTime() ?? now.getTime());
  if (bytes === 0 || elapsed < 1000) return '';
  const speed = (bytes * 1000) / elapsed;
  return `, ${sizeText(speed)}/s, ${spanText(((layer.size - bytes) * 1000) / speed)} left`;
}

function silence({ source }: Download, now: Date): Html | undefined {
  const silentMs = source === undefined ? 0 : now.getTime() - source.receivedAt.getTime();
  return silentMs < SILENCE_MS ? undefined : html`<span class="bad">no byte for ${spanText(silentMs)}</span>`;
}

export function packagesSection(
  { packages, others, total, listing }: Listed,
  { store }: Inspection,
  now: Date,
): Section {
  const { filter } = listing;
  const found = filter === '' ? '' : ` matching “${filter}”`;
  const bound =
    store.usage.entries > MAX_BLOBS ? `Only the ${countText(MAX_BLOBS)} most recently used blobs are listed.` : '';
  return {
    id: 'packages',
    title: 'Packages in the cache',
    isLive: true,
    content: html`<form class="filter" action="#packages" method="get">
        <div>
          <label for="filter">Filter</label>
          <input
            id="filter"
            name="filter"
            value="${filter}"
            type="search"
            autocomplete="off"
            autocapitalize="off"
            spellcheck="false"
            aria-describedby="filter-hint"
          />
          <p class="hint" id="filter-hint">Words of a repository, a path or a digest; all of them must match.</p>
        </div>
        <div>
          <label for="sort">Order</label>
          <select id="sort" name="sort">
            ${Object.entries(ORDERS).map(
              ([name, { text }]) =>
                html`<option value="${name}" ${name === listing.sort ? html`selected` : undefined}>${text}</option>`,
            )}
          </select>
        </div>
        <div><button>Show</button></div>
      </form>
      <p>${countText(total)} ${total === 1 ? 'package' : 'packages'}${found}. ${bound}</p>
      ${list({
        heading: 'packages-title',
        columns: {
          Package: 'text',
          Digest: 'text',
          Size: 'number',
          Stored: 'when',
          'Last used': 'when',
          Verified: 'when',
        },
        order: orderLinks(listing),
        items: packages,
        total,
        row: (cached) => packageRow(cached, now),
        none: filter === '' ? 'No cached package has been requested since the start.' : 'No package matches.',
        rest: 'more; a filter narrows the list',
      })}
      ${othersText(others, now)}`,
  };
}

function packageRow(
  { request, isPlaced, layer: { digest, size, storedAt, usedAt, verifiedAt } }: CachedPackage,
  now: Date,
): Row {
  return {
    id: `package-${request.digest}`,
    cells: [
      html`${isPlaced ? placeText(request) : html`<span class="quiet">place not known</span>`}`,
      html`${packageLink(request)} <small>layer ${digestText(digest)}</small>`,
      sizeText(size),
      ageOf(storedAt, now),
      ageOf(usedAt, now),
      verifiedText(verifiedAt, now),
    ],
  };
}

/** The store does not know the kind of a blob; requests do. */
function othersText(others: readonly BlobInfo[], now: Date): Html | undefined {
  if (others.length === 0) return undefined;
  const bytes = others.reduce((sum, { size }) => sum + size, 0);
  return html`<details id="others">
    <summary id="others-title">${countText(others.length)} other blobs, ${sizeText(bytes)}</summary>
    <p>Manifests, and packages that have not been requested since the start.</p>
    ${list({
      heading: 'others-title',
      columns: { Blob: 'text', Size: 'number', Stored: 'when', 'Last used': 'when', Verified: 'when' },
      items: others,
      row: ({ digest, size, storedAt, usedAt, verifiedAt }) => ({
        id: `blob-${digest}`,
        cells: [
          digestText(digest),
          sizeText(size),
          ageOf(storedAt, now),
          ageOf(usedAt, now),
          verifiedText(verifiedAt, now),
        ],
      }),
      none: '',
      rest: 'more that were used longer ago',
    })}
  </details>`;
}

function verifiedText(verifiedAt: Date | undefined, now: Date): Html {
  return verifiedAt === undefined ? html`not yet` : ageOf(verifiedAt, now);
}
