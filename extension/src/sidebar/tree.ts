/** Runs with what they have begun below them, as lines of one list. */
import type { RunRow } from '../tokens';
import { going, type Filter } from '../shared/runs';

export interface Line {
  row: RunRow;
  depth: number;
  open: boolean | null; // null: nothing is below it
}

export interface Shown {
  lines: Line[];
  found: number; // runs that fit the filter, also those below closed ones
}

const wordsOf = (text: string): string[] => text.toLowerCase().split(/\s+/).filter(Boolean);
const textOf = (row: RunRow): string => `${row.name} ${row.id} ${row.arguments} ${row.allocation ?? ''}`.toLowerCase();

/** Who has begun whom, the oldest first. Ids go by time, so nothing can be below itself. */
export function childrenOf(rows: RunRow[]): Map<string, RunRow[]> {
  const known = new Set(rows.map(row => row.id));
  const children = new Map<string, RunRow[]>();
  for (let i = rows.length - 1; i >= 0; i--) {
    const { parent, id } = rows[i];
    if (!parent || !known.has(parent) || parent >= id) continue;
    const found = children.get(parent);
    if (found) found.push(rows[i]);
    else children.set(parent, [rows[i]]);
  }
  return children;
}

/** A sweep is open while it goes on, unless somebody has said otherwise. */
export function isOpen(row: RunRow, said: ReadonlyMap<string, boolean>): boolean {
  return said.get(row.id) ?? (row.kind === 'sweep' && going(row.status));
}

/** The lines of a list; `rows` are sorted, the newest first. */
export function arrange(rows: RunRow[], { text, status }: Filter, said: ReadonlyMap<string, boolean>): Shown {
  const words = wordsOf(text);
  const children = childrenOf(rows);
  const below = new Set([...children.values()].flat());
  const fits = (row: RunRow): boolean => !status || (status === 'going' ? going(row.status) : row.status === status);
  const says = (row: RunRow): boolean => {
    if (!words.length) return true;
    const all = textOf(row);
    return words.every(word => all.includes(word));
  };
  let found = 0;

  /** The lines of one run and of what is below it; `meant`: its text does not matter. */
  const visit = (row: RunRow, depth: number, meant: boolean): Line[] => {
    const own = (meant || says(row)) && fits(row);
    if (own) found++;
    const kids = children.get(row.id) ?? [];
    if (!kids.length) return own ? [{ row, depth, open: null }] : [];
    const telling = words.length && !meant ? kids.some(kid => tells(kid)) : false; // the words choose among them
    const all = !telling && (meant || says(row));
    const lines = kids.flatMap(kid => visit(kid, depth + 1, all));
    if (!own && !lines.length) return [];
    const narrowed = telling && kids.some(kid => !tells(kid));
    const open = lines.length ? isOpen(row, said) || !own || narrowed : null;
    return [{ row, depth, open }, ...(open ? lines : [])];
  };
  const known = new Map<RunRow, boolean>();
  /** It, or something below it, has the words. */
  const tells = (row: RunRow): boolean => {
    let answer = known.get(row);
    if (answer === undefined) known.set(row, (answer = says(row) || (children.get(row.id) ?? []).some(tells)));
    return answer;
  };
  const lines = rows.flatMap(row => (below.has(row) ? [] : visit(row, 0, false)));
  return { lines, found };
}

/** The line that another one stands below; -1: none. */
export function parentOf(lines: Line[], index: number): number {
  let at = index - 1;
  while (at >= 0 && lines[at].depth >= lines[index].depth) at--;
  return at;
}
