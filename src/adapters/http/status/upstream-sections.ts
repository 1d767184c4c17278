/** The sections of registries, of the sources of their credentials, and of failures with their reasons. */
import type { ConfiguredRegistry, CredentialSource } from '../../../domain/ports/credential-provider.ts';
import type { FailedRequests } from '../../../domain/ports/request-inspection.ts';
import { digestText, type Inspection, list, packageLink, placeText, type Section } from './parts.ts';
import type { UpstreamAnswer } from '../../../domain/ports/registry-gateway.ts';
import { html, type Html } from './html.ts';
import { ageOf, clockText, countText } from './quantities.ts';

export function registriesSection({ credentials }: Inspection, now: Date): Section {
  return {
    id: 'registries',
    title: 'Registries and credentials',
    isLive: true,
    content: html`<h3 id="registries-known">Registries</h3>
      ${list({
        heading: 'registries-known',
        columns: { 'Requests name it': 'text', 'Where it is': 'text', Entered: 'text', 'Known from': 'text' },
        items: credentials.registries(),
        row: registryRow,
        none: 'No registry is known.',
        rest: 'more',
      })}
      <h3 id="registries-sources">Sources</h3>
      ${list({
        heading: 'registries-sources',
        columns: { Source: 'text', 'Last read': 'text', Objects: 'number', Trouble: 'text' },
        items: credentials.sources(),
        row: (source) => sourceRow(source, now),
        none: 'There is none.',
        rest: 'more',
      })}`,
  };
}

function registryRow({ resource, object, names, upstream }: ConfiguredRegistry): Html {
  const { scheme, host, repository, credential, certificates } = upstream;
  const place = `${scheme}://${host}${repository === undefined ? '' : `/${repository}`}`;
  const called = names.map((name) => (name === '' ? 'default registry' : name)).join(', ');
  const cas = certificates === 0 ? undefined : html`<small>${certificates} CA certificates of its own</small>`;
  return html`<tr>
    <th scope="row">${called === '' ? html`<span class="quiet">not at all</span>` : called}</th>
    <td><code>${place}</code></td>
    <td>${entryText(credential)} ${cas}</td>
    <td>${resource}${object === undefined ? '' : ` / ${object}`}</td>
  </tr>`;
}

function entryText({ kind, user }: ConfiguredRegistry['upstream']['credential']): string {
  switch (kind) {
    case 'anonymous':
      return 'anonymous';
    case 'basic':
      return user === undefined ? 'by a password' : `as ${user}`;
    case 'identity':
      return 'by an identity token';
  }
}

function sourceRow({ resource, listedAt, objects, rejected, failure }: CredentialSource, now: Date): Html {
  const troubles = [
    ...(failure === undefined
      ? []
      : [html`<li><span class="bad">Failing</span> ${ageOf(failure.at, now)}: ${failure.reason}</li>`]),
    ...rejected.map(({ object, reason }) => html`<li><span class="bad">Rejected</span> ${object}: ${reason}</li>`),
  ];
  return html`<tr>
    <th scope="row">${resource}</th>
    <td class="when">${listedAt === undefined ? html`<span class="bad">pending</span>` : ageOf(listedAt, now)}</td>
    <td class="number">${countText(objects)}</td>
    <td>
      ${
        troubles.length === 0
          ? html`<span class="quiet">none</span>`
          : html`<ul>
              ${troubles}
            </ul>`
      }
    </td>
  </tr>`;
}

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
