/** Asks the package registry for advisories about our packages, and for missing or wrong signatures. */
import { spawnSync } from 'node:child_process';

/** The problems as sentences; undefined without an answer. */
export type Answer = readonly string[] | undefined;

/** The severities that prevent a release. */
const SEVERITIES: ReadonlySet<unknown> = new Set(['high', 'critical']);
const NPM_TIMEOUT_MS = 120_000;

export function askAdvisories(root: string): Answer {
  return judgeAdvisories(npm(root, ['audit', '--omit=dev', '--json']));
}

export function askSignatures(root: string): Answer {
  return judgeSignatures(npm(root, ['audit', 'signatures', '--json']));
}

/** Reads `npm audit --json`. */
export function judgeAdvisories(report: Readonly<Record<string, unknown>> | undefined): Answer {
  const { vulnerabilities } = report ?? {};
  if (typeof vulnerabilities !== 'object' || vulnerabilities === null) return undefined;
  return Object.entries(vulnerabilities as Record<string, { severity?: unknown }>).flatMap(([name, { severity }]) =>
    SEVERITIES.has(severity) ? [`${name}: ${String(severity)}`] : [],
  );
}

/** Reads `npm audit signatures --json`. */
export function judgeSignatures(report: Readonly<Record<string, unknown>> | undefined): Answer {
  const { invalid, missing } = report ?? {};
  if (!Array.isArray(invalid) || !Array.isArray(missing)) return undefined;
  const names = (list: readonly { name?: unknown; version?: unknown }[], what: string): string[] =>
    list.map(({ name, version }) => `${String(name)} ${String(version)}: ${what}`);
  return [...names(invalid, 'signature does not fit'), ...names(missing, 'no signature')];
}

/** The exit code is 1 both for a finding and for a failure, so only the output shows whether the registry answered. */
function npm(root: string, args: readonly string[]): Record<string, unknown> | undefined {
  const { stdout } = spawnSync('npm', args, { cwd: root, encoding: 'utf8', timeout: NPM_TIMEOUT_MS });
  try {
    const report: unknown = JSON.parse(stdout);
    return typeof report === 'object' && report !== null ? { ...report } : undefined;
  } catch {
    return undefined;
  }
}
