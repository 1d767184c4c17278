/** The segments of a path, decoded once. */

/**
 * One slash at the end is tolerated. Undefined for a bad escape, an empty segment, and one that would be another path after
 * decoding.
 */
export function pathSegments(path: string): readonly string[] | undefined {
  try {
    const segments = path.replace(/\/$/, '').split('/').map(decodeURIComponent);
    return segments.every((segment) => !/^\.{0,2}$|[/\0]/.test(segment)) ? segments : undefined;
  } catch {
    return undefined;
  }
}
