/** The tables of most scenarios. */
import { figure, mebibytes, MIB } from '../figures.ts';
import type { Summary } from '../measure.ts';
import type { Findings, Table } from '../scenario.ts';

/** The table for small bodies: requests per second. */
export function requestsTable(title: string, summaries: readonly Summary[]): Table {
  return {
    title,
    columns: ['peer', 'requests/s', 'first byte, ms', 'CPU ms/request', 'clients, CPU %', 'peak MiB', 'failures'],
    rows: summaries.map((one) => [
      one.name,
      figure(one.requestsPerSecond),
      figure(one.firstByteMs),
      figure(one.cpuMsPerRequest),
      figure(one.clientCpuPercent),
      mebibytes(one.peakBytes),
      String(one.failures),
    ]),
  };
}

/** The table for one download in each round: total time. */
export function totalsTable(title: string, summaries: readonly Summary[]): Table {
  return {
    title,
    columns: ['peer', 'total, s', 'MiB/s', 'first byte, ms', 'CPU s/GiB', 'peak MiB', 'failures'],
    rows: summaries.map((one) => [
      one.name,
      figure(one.seconds),
      figure(one.bytesPerSecond / MIB),
      figure(one.firstByteMs),
      figure(one.cpuSecondsPerGiB),
      mebibytes(one.peakBytes),
      String(one.failures),
    ]),
  };
}

/** The table for downloads that are repeated during a round: bytes per second. */
export function throughputTable(title: string, summaries: readonly Summary[]): Table {
  return {
    title,
    columns: ['peer', 'MiB/s', 'first byte, ms', 'CPU s/GiB', 'clients, CPU %', 'peak MiB', 'failures'],
    rows: summaries.map((one) => [
      one.name,
      figure(one.bytesPerSecond / MIB),
      figure(one.firstByteMs),
      figure(one.cpuSecondsPerGiB),
      figure(one.clientCpuPercent),
      mebibytes(one.peakBytes),
      String(one.failures),
    ]),
  };
}

/** A sentence for each peer with failures. */
export function failureNotes(title: string, summaries: readonly Summary[]): string[] {
  return summaries
    .filter(({ failures }) => failures > 0)
    .map(
      ({ name, failures, failure }) =>
        `${title}: ${String(failures)} requests to ${name} failed, one of them with: ${String(failure)}`,
    );
}

export function joinFindings(all: readonly Findings[]): Findings {
  return {
    tables: all.flatMap(({ tables }) => tables),
    measured: Object.assign({}, ...all.map(({ measured }) => measured)) as Findings['measured'],
    notes: all.flatMap(({ notes }) => notes ?? []),
  };
}
