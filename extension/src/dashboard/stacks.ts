/** The text of stacks in its parts. Pure functions. */
import type { RunDetail, Standing } from '../tokens';

/** Ranks that stand in the same place. */
export interface Group {
  ranks: string; // as they are named: "rank 1", "ranks 0-2, 5"
  lines: string[]; // where they stand, or why they do not say it
}

const HEAD = /^ranks? \d[\d, -]*$/;

export function groupsOf(text: string): { hint: string; groups: Group[] } {
  const hint: string[] = [],
    groups: Group[] = [];
  for (const line of text.split('\n')) {
    if (HEAD.test(line)) groups.push({ ranks: line, lines: [] });
    else if (groups.length) groups[groups.length - 1].lines.push(line.replace(/^ {2}/, ''));
    else if (line.trim()) hint.push(line);
  }
  return { hint: hint.join(' '), groups: groups.map(g => ({ ...g, lines: g.lines.filter(line => line.trim()) })) };
}

/** A line in two parts: where, and the function that stands there; the function is empty if it is no frame. */
export function frameOf(line: string): [string, string] {
  const found = /^(\s*File ".*", line \d+, in )(.*)$/.exec(line);
  return found ? [found[1], found[2]] : [line, ''];
}

/** Whether one of the ranks that the others wait for is among these. */
export function isOdd({ ranks }: Group, odd: number[]): boolean {
  return spans(ranks).some(([from, to]) => odd.some(rank => rank >= from && rank <= to));
}

function spans(ranks: string): [number, number][] {
  return [...ranks.matchAll(/(\d+)(?:-(\d+))?/g)].map(([, from, to]) => [Number(from), Number(to ?? from)]);
}

/**
 * The stacks that were kept when a run was found to stand still; null: it does not now, or its record makes no sense.
 */
export function stallOf({ status, extra }: Pick<RunDetail, 'status' | 'extra'>): (Standing & { since: number }) | null {
  const { since, stacks, odd } = (extra.stall ?? {}) as { since?: unknown; stacks?: unknown; odd?: unknown };
  if (status !== 'stalled' || typeof since !== 'number' || typeof stacks !== 'string') return null;
  return { text: stacks, odd: Array.isArray(odd) ? odd.filter(rank => typeof rank === 'number') : [], since };
}
