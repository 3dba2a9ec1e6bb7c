/** The sets of a sweep as a table that can be sorted; pure. */
import { value } from '../shared/format';
import type { Plain, RunRow } from '../tokens';

export type Group = 'parameter' | 'value' | 'fact';

export interface Column {
  key: string; // unique
  name: string;
  group: Group;
  read: (row: RunRow) => Plain | undefined;
}

/** Names in the order in which they come up. */
function namesOf(rows: RunRow[], read: (row: RunRow) => Record<string, Plain> | undefined): string[] {
  return [...new Set(rows.flatMap(row => Object.keys(read(row) ?? {})))];
}

/** Seconds that a run took, or takes so far. */
export function secondsOf(row: RunRow, now: number): number | undefined {
  return row.started === null ? undefined : Math.max(0, (row.ended ?? now) - row.started);
}

export function columnsOf(rows: RunRow[], now: number): Column[] {
  return [
    ...namesOf(rows, row => row.parameters).map(
      (name): Column => ({ key: `p ${name}`, name, group: 'parameter', read: row => row.parameters?.[name] })
    ),
    ...namesOf(rows, row => row.values).map(
      (name): Column => ({ key: `v ${name}`, name, group: 'value', read: row => row.values[name] })
    ),
    { key: 'status', name: 'status', group: 'fact', read: row => row.status },
    { key: 'duration', name: 'duration', group: 'fact', read: row => secondsOf(row, now) }
  ];
}

/** The sets of a sweep, in their order. */
export function setsOf(rows: Iterable<RunRow>, sweep: string): RunRow[] {
  return [...rows].filter(row => row.parent === sweep).sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
}

/** Numbers before texts; what is not there comes last, whichever way it is sorted. */
function compare(a: Plain | undefined, b: Plain | undefined): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  if (typeof a === 'number' || typeof b === 'number') return typeof a === 'number' ? -1 : 1;
  return String(a).localeCompare(String(b), 'en', { numeric: true });
}

export interface Sorting {
  key: string; // of a column; empty: as they were begun
  down: boolean;
}

export function sortSets(rows: RunRow[], columns: Column[], { key, down }: Sorting): RunRow[] {
  const column = columns.find(c => c.key === key);
  if (!column) return rows;
  const missing = (x: Plain | undefined): boolean => x === undefined || x === null || x === 'nan' || x === 'NaN';
  return [...rows].sort((a, b) => {
    const [x, y] = [column.read(a), column.read(b)];
    if (missing(x) || missing(y)) return Number(missing(x)) - Number(missing(y));
    return down ? compare(y, x) : compare(x, y);
  });
}

/** A click on a head: up, down, and as they were begun. */
export function nextSorting({ key, down }: Sorting, clicked: string): Sorting {
  if (key !== clicked) return { key: clicked, down: false };
  return down ? { key: '', down: false } : { key, down: true };
}

const cell = (x: Plain | undefined): string => {
  const text = x === undefined ? '' : typeof x === 'number' ? String(x) : value(x);
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
};

/** All of it as a file. */
export function setsCsv(rows: RunRow[], columns: Column[]): string {
  const head = ['run', ...columns.map(c => c.name), 'notebook', 'reason'];
  const lines = rows.map(row => [
    row.id,
    ...columns.map(c => c.read(row)),
    row.output ?? row.output_at ?? '',
    row.reason ?? ''
  ]);
  return [head, ...lines].map(line => `${line.map(cell).join(',')}\r\n`).join('');
}
