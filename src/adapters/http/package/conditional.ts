/** The If-None-Match header: whether a client has the package already (RFC 9110 section 13.1.2). */

/** `any` is `*`: it matches each representation that exists. Entity tags are compared weakly, as the section asks for. */
export function matchesEtag(ifNoneMatch: string, etag: string): boolean | 'any' {
  const trimmed = ifNoneMatch.trim();
  if (trimmed === '*') return 'any';
  // No entity tag of ours holds a comma, so a split finds it wherever it stands in the list.
  return trimmed.split(',').some((candidate) => candidate.trim().replace(/^W\//, '') === etag);
}
