/** Checks that CHANGELOG.md (Keep a Changelog 1.1.0) has a dated section for the release, and no unreleased changes. */

/** `today` and the dates have the form `2026-11-25`. Returns the problems as sentences. */
export function judgeChangelog(text: string, version: string, today: string): string[] {
  const [, ...sections] = text.split(/^## /m);
  const unreleased = sections.find((section) => section.startsWith('[Unreleased]'));
  const [latest = ''] = sections.filter((section) => section !== unreleased);
  const [heading = '', ...body] = latest.split('\n');
  const [, named, date = ''] = /^\[(.+)\] - (\d{4}-\d\d-\d\d)$/.exec(heading) ?? [];
  return [
    ...(/^- /m.test(unreleased ?? '') ? ['there are changes under [Unreleased]'] : []),
    ...(named === version ? [] : [`the latest section is "${heading}", and not "[${version}] - ${today}"`]),
    ...(named === version && (Number.isNaN(Date.parse(date)) || date > today) ? [`${date} is no day until today`] : []),
    ...(named === version && !body.some((line) => line.startsWith('- ')) ? [`nothing has changed in ${version}`] : []),
  ];
}
