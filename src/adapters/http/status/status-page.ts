/** The status page: its head, its sections, and the policy that permits only its own script and style. */
import type { Explanation } from '../../../application/explain-package.ts';
import { BAD, GOOD, type Inspection, renderSection } from './parts.ts';
import { downloadsSection, packagesSection } from './cache-sections.ts';
import { listPackages, type ListingQuery } from './cached-packages.ts';
import { explainSection, type Question } from './explain-section.ts';
import { failuresSection, registriesSection } from './upstream-sections.ts';
import { html, Html } from './html.ts';
import { overviewSection } from './overview-section.ts';
import { ageOf, clockText, countText } from './quantities.ts';

const STYLE = Html.ofFile('style', new URL('./status.css', import.meta.url));
const SCRIPT = Html.ofFile('script', new URL('./status.js', import.meta.url));

/**
 * Script and style are permitted by their hashes, not by their origin: a package of this origin must not run as a script.
 */
export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  `style-src ${STYLE.source}`,
  `script-src ${SCRIPT.source}`,
  'img-src data:',
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

export interface Status {
  readonly version: string;
  /** The names of the node and of the pod; undefined outside a cluster. */
  readonly node: string | undefined;
  readonly pod: string | undefined;
  readonly startedAt: Date;
  readonly now: Date;
  /** The reasons why the service is not ready, in words for an operator. */
  readonly missing: readonly string[];
  readonly inspection: Inspection;
  /** The filter and the order of the packages. */
  readonly listing: ListingQuery;
  readonly question: Question;
  readonly explanation: Explanation | undefined;
}

export function renderStatus(status: Status): Html {
  const { version, node, pod, startedAt, now, missing, inspection, listing, question, explanation } = status;
  const sections = [
    overviewSection(inspection),
    failuresSection(inspection, now),
    downloadsSection(inspection, now),
    packagesSection(listPackages(inspection, listing), inspection, now),
    explainSection(question, explanation, inspection, now),
    registriesSection(inspection, now),
  ];
  const readiness =
    missing.length === 0
      ? html`<span class="good">${GOOD} Ready</span>`
      : html`<span class="bad">${BAD} Not ready: ${missing.join('; ')}</span>`;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${node === undefined ? '' : `${node}: `}status of registry-packages-proxy</title>
        <link rel="icon" href="data:image/svg+xml,${encodeURIComponent(ICON)}" />
        ${STYLE.markup}
      </head>
      <body>
        <a class="skip" href="#main">Skip to content</a>
        <header>
          <div>
            <h1>registry-packages-proxy ${node === undefined ? undefined : html`<span>on ${node}</span>`}</h1>
            <p>
              <span id="updates" class="quiet" role="status"></span>
              <button type="button" id="pause" hidden>Pause updates</button>
            </p>
          </div>
          <p id="state" data-live>
            ${readiness} ${failureCount(inspection)} ${pod === undefined ? undefined : html`<span>pod ${pod}</span>`}
            <span>version ${version}</span>
            <span>started ${ageOf(startedAt, now)}</span>
            <span>as of <time datetime="${now.toISOString()}">${clockText(now)}</time> UTC</span>
          </p>
          <nav aria-label="Sections">
            <ul>
              ${sections.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}
            </ul>
          </nav>
        </header>
        <main id="main">${sections.map(renderSection)}</main>
        ${SCRIPT.markup}
      </body>
    </html>`;
}

/** Rendered at the top, so that the latest failures are visible without scrolling. */
function failureCount({ requests }: Inspection): Html {
  const count = requests.lastHour().reduce((sum, { failures }) => sum + failures, 0);
  if (count === 0) return html`<span class="good">${GOOD} No failed request in the last hour</span>`;
  const noun = count === 1 ? 'failed request' : 'failed requests';
  return html`<a class="bad" href="#failures">${BAD} ${countText(count)} ${noun} in the last hour</a>`;
}

/** The icon shows a parcel. */
const ICON =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path fill="#1f5fbf" d="M2 5l6-3 6 3v6l-6 3-6-3z"/><path fill="none" stroke="#fff" d="M2 5l6 3 6-3M8 8v6"/></svg>';
