/** The text of stacks in its parts. Pure functions. */

/** Ranks that stand in the same place. */
export interface Group {
  ranks: string; // as they are named: "rank 1", "ranks 0-2, 5"
  lines: string[]; // where they stand, or why they do not say it
}

const HEAD = /^ranks? \d[\d, -]*$/;

export function groupsOf(text: string): { hint: string; groups: Group[] } {
  const hint: string[] = [], groups: Group[] = [];
  for (const line of text.split('\n')) {
    if (HEAD.test(line)) groups.push({ ranks: line, lines: [] });
    else if (groups.length) groups[groups.length - 1].lines.push(line.replace(/^ {2}/, ''));
    else if (line.trim()) hint.push(line);
  }
  return { hint: hint.join(' '), groups: groups.map(g => ({ ...g, lines: g.lines.filter(line => line.trim()) })) };
}

/** Whether one of the ranks that the others wait for is among these. */
export function isOdd({ ranks }: Group, odd: number[]): boolean {
  return spans(ranks).some(([from, to]) => odd.some(rank => rank >= from && rank <= to));
}

function spans(ranks: string): [number, number][] {
  return [...ranks.matchAll(/(\d+)(?:-(\d+))?/g)].map(([, from, to]) => [Number(from), Number(to ?? from)]);
}
