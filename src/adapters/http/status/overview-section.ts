/** The figures of the service: the size of the cache, the outcomes since the start, and the last hour by minutes. */
import type { RequestMinute } from '../../../domain/ports/request-inspection.ts';
import { html, type Html } from './html.ts';
import type { Inspection, Section } from './parts.ts';
import { countText, shareText, sizeText } from './quantities.ts';

export function overviewSection({ store: { usage }, requests }: Inspection): Section {
  const { hit, miss, joined, bypass } = requests.outcomes;
  const all = hit + miss + joined + bypass;
  const figure = (term: string, count: number, remark: string): Html =>
    html`<div>
      <dt>${term}</dt>
      <dd>${countText(count)}</dd>
      <dd>${remark}</dd>
    </div>`;
  const disk =
    usage.maxBytes === 0
      ? html`<dd>off</dd>
          <dd>nothing is cached</dd>`
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
        ${figure('Hits', hit, `${shareText(hit, all)} of ${countText(all)}`)}
        ${figure('Misses', miss, 'downloads begun')} ${figure('Joined', joined, 'shared a download')}
        ${figure('Bypassed', bypass, 'not cached')}
        ${figure('Evicted', usage.evicted, `${countText(usage.damaged)} found damaged`)}
      </dl>
      <h3 id="history-title">The last hour</h3>
      ${history(requests.lastHour())}`,
  };
}

const CHARTS: readonly (readonly [
  title: string,
  field: 'hits' | 'misses' | 'failures' | 'bytes',
  text: (count: number) => string,
])[] = [
  ['Hits', 'hits', countText],
  ['Not cached', 'misses', countText],
  ['Failed', 'failures', countText],
  ['Sent', 'bytes', sizeText],
];

function history(minutes: readonly RequestMinute[]): Html {
  return html`<div class="charts">
    ${CHARTS.map(([title, field, text]) => {
      const counts = minutes.map((minute) => minute[field]);
      const [sum, most] = [counts.reduce((total, count) => total + count, 0), Math.max(0, ...counts)];
      return html`<figure>
        <figcaption>${title} <strong>${text(sum)}</strong></figcaption>
        ${bars(counts, most, `${title} in the last hour: ${text(sum)}, at most ${text(most)} in a minute`)}
      </figure>`;
    })}
  </div>`;
}

const HEIGHT = 24;

/** Renders one bar for each minute, the present one at the right. A minute with any requests has a visible bar. */
function bars(counts: readonly number[], most: number, label: string): Html {
  const drawn = counts.flatMap((count, index) => {
    if (count === 0) return [];
    const height = Math.max(1.5, (HEIGHT * count) / most);
    return html`<rect
      x="${index}"
      y="${(HEIGHT - height).toFixed(2)}"
      width="0.75"
      height="${height.toFixed(2)}"
    ></rect>`;
  });
  return html`<svg role="img" aria-label="${label}" viewBox="0 0 60 ${HEIGHT}" preserveAspectRatio="none">
    ${drawn}
  </svg>`;
}
