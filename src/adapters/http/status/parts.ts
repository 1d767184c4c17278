/** The elements of the sections of the page. */
import type { GetPackage } from '../../../application/get-package.ts';
import type { ResolvePackage } from '../../../application/resolve-package.ts';
import type { CredentialInspection } from '../../../domain/ports/credential-provider.ts';
import type { StoreInspection } from '../../../domain/ports/package-store.ts';
import type { SourceInspection, UpstreamInspection } from '../../../domain/ports/registry-gateway.ts';
import type { RequestInspection } from '../../../domain/ports/request-inspection.ts';
import type { Digest } from '../../../domain/descriptor.ts';
import type { PackageRequest } from '../../../domain/reference.ts';
import { html, type Html, type HtmlValue } from './html.ts';
import { countText } from './quantities.ts';

/** The state for operators. Reading it asks no upstream, reveals no secret and counts as no use. */
export interface Inspection {
  readonly store: StoreInspection;
  readonly packages: Pick<ResolvePackage, 'known'>;
  readonly downloads: Pick<GetPackage, 'slots' | 'list'>;
  readonly credentials: CredentialInspection;
  readonly upstreams: UpstreamInspection;
  /** Undefined if only registries are asked. */
  readonly sources?: Pick<SourceInspection, 'sources'> | undefined;
  readonly requests: RequestInspection;
}

/** The largest number of rows, as many as a person reads; rendering more each second would cost too much time. */
export const MAX_ROWS = 200;

/**
 * Signs, so that no fact depends on colour alone. In a template the bundler would leave them as they are (tools/build.ts).
 */
export const GOOD = '✓';
export const BAD = '✗';

export interface Section {
  /** Used in the links of the page, too. */
  readonly id: string;
  readonly title: string;
  /** Whether the script may refresh the section. */
  readonly isLive: boolean;
  readonly content: Html;
}

export function renderSection({ id, title, isLive, content }: Section): Html {
  return html`<section id="${id}" aria-labelledby="${id}-title" ${isLive ? html`data-live` : undefined}>
    <h2 id="${id}-title">${title}</h2>
    ${content}
  </section>`;
}

/** The style of the cells of a column. */
type ColumnKind = 'text' | 'number' | 'when' | 'bar' | 'code';

export interface Row {
  /** The script finds the row by this id. */
  readonly id?: string;
  /** One cell for each column; the first is the head of the row. */
  readonly cells: readonly HtmlValue[];
}

interface Listing<Item> {
  /** The id of its heading. */
  readonly heading: string;
  /** In the order of the cells. In a narrow window each cell shows the title of its column. */
  readonly columns: Readonly<Record<string, ColumnKind>>;
  /** The titles of the columns by which the list can be sorted. */
  readonly order?: Readonly<Record<string, ColumnOrder>>;
  readonly items: readonly Item[];
  /** The number of all rows, if the list shows fewer. */
  readonly total?: number;
  readonly row: (item: Item) => Row;
  /** The text for an empty list. */
  readonly none: string;
  /** The noun for the hidden rows. */
  readonly rest: string;
}

export interface ColumnOrder {
  readonly href: string;
  /** The present order of the rows, if they are sorted by this column. */
  readonly current: 'ascending' | 'descending' | undefined;
}

/**
 * A table in a frame that scrolls with the keyboard if the window is too small; in a narrow window each row is a card. The
 * roles are explicit, because browsers remove them from a table with the layout of cards.
 */
export function list<Item>(listing: Listing<Item>): Html {
  const { heading, columns, order = {}, items, total = items.length, row, none, rest } = listing;
  if (items.length === 0) return html`<p class="quiet">${none}</p>`;
  const titles = Object.entries(columns);
  const surplus = total - MAX_ROWS;
  return html`<div class="frame" role="group" aria-labelledby="${heading}" tabindex="0">
      <table role="table" aria-labelledby="${heading}">
        <thead role="rowgroup">
          <tr role="row">
            ${titles.map(([title, kind]) => columnHead(title, kind, order[title]))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          ${items.slice(0, MAX_ROWS).map((item) => renderRow(row(item), titles))}
        </tbody>
      </table>
    </div>
    ${surplus > 0 ? html`<p class="quiet">And ${countText(surplus)} ${rest}.</p>` : undefined}`;
}

function columnHead(title: string, kind: ColumnKind, order: ColumnOrder | undefined): Html {
  if (order === undefined) return html`<th scope="col" role="columnheader" class="${kind}">${title}</th>`;
  const { href, current } = order;
  const sign = current === undefined ? '' : current === 'ascending' ? ' ▲' : ' ▼';
  return html`<th
    scope="col"
    role="columnheader"
    class="${kind}"
    ${current === undefined ? undefined : html`aria-sort="${current}"`}
  >
    <a href="${href}">${title}</a><span aria-hidden="true">${sign}</span>
  </th>`;
}

function renderRow({ id, cells }: Row, titles: readonly [title: string, kind: ColumnKind][]): Html {
  const [head, ...rest] = cells;
  return html`<tr role="row" ${id === undefined ? undefined : html`id="${id}"`}>
    <th scope="row" role="rowheader" class="${titles[0]?.[1]}">${head}</th>
    ${rest.map((content, index) => {
      const [title, kind] = titles[index + 1] ?? [];
      return html`<td role="cell" class="${kind}" data-label="${title}">${content}</td>`;
    })}
  </tr>`;
}

/**
 * Renders the whole digest, which can be found and copied; the style shows its beginning, and all of it on keyboard focus.
 */
export function digestText(digest: Digest): Html {
  return html`<code class="digest">${digest}</code>`;
}

/** Renders a link to the explanation of this package, which has the whole digest. */
export function packageLink({ digest, repository, path }: PackageRequest): Html {
  const place = { ...(repository !== '' && { repository }), ...(path !== undefined && { path }) };
  return html`<a href="?${new URLSearchParams({ digest, ...place }).toString()}#explain">${digestText(digest)}</a>`;
}

/** The place of the package for a request. */
export function placeText({ repository, path }: Pick<PackageRequest, 'repository' | 'path'>): string {
  const registry = repository === '' ? 'default registry' : repository;
  return path === undefined ? registry : `${registry} / ${path}`;
}
