/** The section of the last failures and their reasons. */
import type { FailedRequests, Inspection, UpstreamAnswer } from '../../../application/inspection.ts';
import { html, type Html } from './html.ts';
import { digestText, list, packageLink, placeText, type Section } from './parts.ts';
import { ageOf, clockText, countText } from './quantities.ts';

export function failuresSection({ requests, upstreams }: Inspection, now: Date): Section {
  return {
    id: 'failures',
    title: 'Failures',
    isLive: true,
    content: html`<h3 id="failures-requests">Requests that failed</h3>
      ${list({
        heading: 'failures-requests',
        columns: { Last: 'text', Times: 'number', Answer: 'text', Reason: 'text', 'Asked for': 'text' },
        items: requests.failures(),
        row: (failure) => failureRow(failure, now),
        none: 'None since the start.',
        rest: 'more, longer ago',
      })}
      <h3 id="failures-upstreams">What registries last failed to answer</h3>
      ${list({
        heading: 'failures-upstreams',
        columns: { When: 'text', Registry: 'text', Answer: 'text', Reason: 'text', 'Asked for': 'text' },
        items: upstreams.answers().filter(({ code }) => code !== 'OK'),
        row: (answer) => answerRow(answer, now),
        none: 'Nothing.',
        rest: 'more, longer ago',
      })}`,
  };
}

function failureRow({ request, status, code, detail, cause, count, lastAt }: FailedRequests, now: Date): Html {
  return html`<tr>
    <th scope="row" class="when">${ageOf(lastAt, now)} <small>${clockText(lastAt)} UTC</small></th>
    <td class="number">${countText(count)}</td>
    <td class="code"><span class="bad">${status}</span> ${code}</td>
    <td>${reason(detail, cause)}</td>
    <td>
      ${
        request === undefined
          ? html`<span class="quiet">not understood</span>`
          : html`${packageLink(request)} <small>${placeText(request)}</small>`
      }
    </td>
  </tr>`;
}

function answerRow({ operation, host, repository, digest, at, code, detail, cause }: UpstreamAnswer, now: Date): Html {
  return html`<tr>
    <th scope="row" class="when">${ageOf(at, now)} <small>${clockText(at)} UTC</small></th>
    <td>${repository === undefined ? host : `${host}/${repository}`}</td>
    <td class="code">${code}</td>
    <td>${reason(detail, cause)}</td>
    <td>${operation} ${digestText(digest)}</td>
  </tr>`;
}

function reason(detail: string, cause: string | undefined): Html {
  return html`${detail} ${cause === undefined ? undefined : html`<small>${cause}</small>`}`;
}
