/** Which runs are shown, and in which order. */
import type { RunRow, Status } from '../tokens';

export const GOING: readonly Status[] = ['waiting', 'running', 'stalled']; // stalled: running, without a sign of life

export interface Filter {
  text: string; // words, all of which must occur in name, id or arguments
  status: '' | 'going' | Status;
}

export const going = (status: Status): boolean => GOING.includes(status);

export const runs = (status: Status): boolean => status === 'running' || status === 'stalled';

/** The newest first; of the same second by id, so that rows do not jump. */
export function sortRuns(rows: Iterable<RunRow>): RunRow[] {
  return [...rows].sort((a, b) => b.created - a.created || (a.id < b.id ? 1 : -1));
}

/** What the summary line says. */
export function countRuns(rows: Iterable<RunRow>): { all: number; going: number } {
  let [all, n] = [0, 0];
  for (const row of rows) {
    all++;
    if (going(row.status)) n++;
  }
  return { all, going: n };
}
