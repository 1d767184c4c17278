/** The pieces from which the sections of the page are made. */
import type { GetPackage } from '../../../application/get-package.ts';
import type { ResolvePackage } from '../../../application/resolve-package.ts';
import type { CredentialInspection } from '../../../domain/ports/credential-provider.ts';
import type { StoreInspection } from '../../../domain/ports/package-store.ts';
import type { UpstreamInspection } from '../../../domain/ports/registry-gateway.ts';
import type { RequestInspection } from '../../../domain/ports/request-inspection.ts';
import type { Digest } from '../../../domain/descriptor.ts';
import type { PackageRequest } from '../../../domain/reference.ts';
import { html, type Html } from './html.ts';

/** The state that operators can see. None of it asks an upstream, holds a secret or counts as a use. */
export interface Inspection {
  readonly store: StoreInspection;
  readonly packages: Pick<ResolvePackage, 'known'>;
  readonly downloads: Pick<GetPackage, 'slots' | 'list'>;
  readonly credentials: CredentialInspection;
  readonly upstreams: UpstreamInspection;
  readonly requests: RequestInspection;
}

/** A person reads no more rows, and the service should not spend more time on them every second. */
export const MAX_ROWS = 200;

/** Signs, so that nothing is told by colour alone. In a template the bundler would leave them as they are (tools/build.ts). */
export const GOOD = '✓';
export const BAD = '✗';

export interface Section {
  /** In the page's own links, too. */
  readonly id: string;
  readonly title: string;
  /** Whether the script may keep it fresh. */
  readonly isLive: boolean;
  readonly content: Html;
}

export function renderSection({ id, title, isLive, content }: Section): Html {
  return html`<section id="${id}" aria-labelledby="${id}-title" ${isLive ? html`data-live` : undefined}>
    <h2 id="${id}-title">${title}</h2>
    ${content}
  </section>`;
}

interface Listing<Item> {
  /** The id of its heading. */
  readonly heading: string;
  readonly columns: Readonly<Record<string, 'text' | 'number'>>;
  readonly items: readonly Item[];
  /** How many there are, when that is more than those. */
  readonly total?: number;
  readonly row: (item: Item) => Html;
  /** The text for an empty list. */
  readonly none: string;
  /** The noun for the rows that are not shown. */
  readonly rest: string;
}

/** A table in a frame that can be moved by keys where the window is too small for it. */
export function list<Item>({ heading, columns, items, total = items.length, row, none, rest }: Listing<Item>): Html {
  if (items.length === 0) return html`<p class="quiet">${none}</p>`;
  const heads = Object.entries(columns).map(([title, kind]) => html`<th scope="col" class="${kind}">${title}</th>`);
  const surplus = total - MAX_ROWS;
  return html`<div class="frame" role="group" aria-labelledby="${heading}" tabindex="0">
      <table aria-labelledby="${heading}">
        <thead>
          <tr>
            ${heads}
          </tr>
        </thead>
        <tbody>
          ${items.slice(0, MAX_ROWS).map(row)}
        </tbody>
      </table>
    </div>
    ${surplus > 0 ? html`<p class="quiet">And ${surplus} ${rest}.</p>` : undefined}`;
}

/** All of it to be found and copied; the style shows its beginning, or all of it where the keyboard is. */
export function digestText(digest: Digest): Html {
  return html`<code class="digest">${digest}</code>`;
}

/** To the explanation of this package; the whole digest can be read there. */
export function packageLink({ digest, repository, path }: PackageRequest): Html {
  const place = { ...(repository !== '' && { repository }), ...(path !== undefined && { path }) };
  return html`<a href="?${new URLSearchParams({ digest, ...place }).toString()}#explain">${digestText(digest)}</a>`;
}

/** Where a request looks for its package. */
export function placeText({ repository, path }: Pick<PackageRequest, 'repository' | 'path'>): string {
  const registry = repository === '' ? 'default registry' : repository;
  return path === undefined ? registry : `${registry} / ${path}`;
}
