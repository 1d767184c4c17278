/** The sections of registries, of the sources of their credentials, and of failures with their reasons. */
import type { ConfiguredRegistry, CredentialSource } from '../../../domain/ports/credential-provider.ts';
import type { FailedRequests } from '../../../domain/ports/request-inspection.ts';
import { digestText, type Inspection, list, packageLink, placeText, type Row, type Section } from './parts.ts';
import type { SourceStatus, UpstreamAnswer } from '../../../domain/ports/registry-gateway.ts';
import { html, type Html } from './html.ts';
import { ageOf, clockText, countText } from './quantities.ts';

export function registriesSection({ credentials, sources }: Inspection, now: Date): Section {
  return {
    id: 'registries',
    title: 'Registries and credentials',
    isLive: true,
    content: html`<h3 id="registries-known">Registries</h3>
      ${list({
        heading: 'registries-known',
        columns: { 'Name in requests': 'text', Address: 'text', Credentials: 'text', 'Configured by': 'text' },
        items: credentials.registries(),
        row: registryRow,
        none: 'No registry is known.',
        rest: 'more',
      })}
      <h3 id="registries-sources">Sources</h3>
      ${list({
        heading: 'registries-sources',
        columns: { Source: 'text', 'Last read': 'when', Objects: 'number', Problems: 'text' },
        items: credentials.sources(),
        row: (source) => sourceRow(source, now),
        none: 'None.',
        rest: 'more',
      })}
      ${sources === undefined ? undefined : sourcesTable(sources.sources(), now)}`,
  };
}

function sourcesTable(sources: readonly SourceStatus[], now: Date): Html {
  return html`<h3 id="registries-before">Mirrors and bucket, asked before registries</h3>
    ${list({
      heading: 'registries-before',
      columns: { Place: 'text', Kind: 'text', State: 'text', 'Wrong digests': 'number' },
      items: sources,
      row: (source) => ({
        cells: [html`<code>${source.name}</code>`, source.kind, placeState(source, now), countText(source.distrusted)],
      }),
      none: 'None.',
      rest: 'more',
    })}`;
}

export function placeState({ resting, isFailing }: SourceStatus, now: Date): Html {
  if (resting === undefined) return isFailing ? html`<span class="bad">Failed</span> last time` : html`asked first`;
  const seconds = Math.max(0, Math.ceil((resting.until.getTime() - now.getTime()) / 1000));
  return html`<span class="bad">Asked last</span> for ${countText(seconds)} s <small>${resting.reason}</small>`;
}

function registryRow({ resource, object, names, upstream }: ConfiguredRegistry): Row {
  const { scheme, host, repository, credential, certificates } = upstream;
  const place = `${scheme}://${host}${repository === undefined ? '' : `/${repository}`}`;
  const called = names.map((name) => (name === '' ? 'default registry' : name)).join(', ');
  const cas = certificates === 0 ? undefined : html`<small>${certificates} CA certificates of its own</small>`;
  return {
    cells: [
      called === '' ? html`<span class="quiet">none</span>` : called,
      html`<code>${place}</code>`,
      html`${credentialText(credential)} ${cas}`,
      `${resource}${object === undefined ? '' : ` / ${object}`}`,
    ],
  };
}

function credentialText({ kind, user }: ConfiguredRegistry['upstream']['credential']): string {
  switch (kind) {
    case 'anonymous':
      return 'anonymous';
    case 'basic':
      return user === undefined ? 'password' : `user ${user}`;
    case 'identity':
      return 'identity token';
  }
}

function sourceRow({ resource, listedAt, objects, rejected, failure }: CredentialSource, now: Date): Row {
  const troubles = [
    ...(failure === undefined
      ? []
      : [html`<li><span class="bad">Failing</span> ${ageOf(failure.at, now)}: ${failure.reason}</li>`]),
    ...rejected.map(({ object, reason }) => html`<li><span class="bad">Rejected</span> ${object}: ${reason}</li>`),
  ];
  return {
    cells: [
      resource,
      listedAt === undefined ? html`<span class="bad">pending</span>` : ageOf(listedAt, now),
      countText(objects),
      troubles.length === 0
        ? html`<span class="quiet">none</span>`
        : html`<ul>
            ${troubles}
          </ul>`,
    ],
  };
}

export function failuresSection({ requests, upstreams }: Inspection, now: Date): Section {
  return {
    id: 'failures',
    title: 'Failures',
    isLive: true,
    content: html`<h3 id="failures-requests">Requests that failed</h3>
      ${list({
        heading: 'failures-requests',
        columns: { Last: 'when', Reason: 'text', Answer: 'code', Times: 'number', Package: 'text' },
        items: requests.failures(),
        row: (failure) => failureRow(failure, now),
        none: 'None since the start.',
        rest: 'more, longer ago',
      })}
      <h3 id="failures-upstreams">Last upstream errors</h3>
      ${list({
        heading: 'failures-upstreams',
        columns: { Last: 'when', Reason: 'text', Answer: 'code', Registry: 'text', Content: 'text' },
        items: upstreams.answers().filter(({ code }) => code !== 'OK'),
        row: (answer) => answerRow(answer, now),
        none: 'None since the start.',
        rest: 'more, longer ago',
      })}`,
  };
}

function failureRow({ request, status, code, detail, cause, count, lastAt }: FailedRequests, now: Date): Row {
  return {
    cells: [
      html`${ageOf(lastAt, now)} <small>${clockText(lastAt)} UTC</small>`,
      reason(detail, cause),
      html`<span class="bad">${status}</span> ${code}`,
      countText(count),
      request === undefined
        ? html`<span class="quiet">not understood</span>`
        : html`${placeText(request)} <small>${packageLink(request)}</small>`,
    ],
  };
}

function answerRow({ operation, host, repository, digest, at, code, detail, cause }: UpstreamAnswer, now: Date): Row {
  return {
    cells: [
      html`${ageOf(at, now)} <small>${clockText(at)} UTC</small>`,
      reason(detail, cause),
      html`<span class="bad">${code}</span>`,
      repository === undefined ? host : `${host}/${repository}`,
      html`${operation} ${digestText(digest)}`,
    ],
  };
}

function reason(detail: string, cause: string | undefined): Html {
  return html`${detail} ${cause === undefined ? undefined : html`<small>${cause}</small>`}`;
}
