/** From columns to what uPlot draws: one x for all series of a panel, gaps, bands, values that a logarithm can take. */
import type { Panel } from './decode';
import type { Words } from './words';

/** One drawn line. `null` is a gap, `undefined` means that this series has no point at this x. */
export interface Line {
  label: string;
  rank: number;
  role: 'line' | 'faint' | 'low' | 'high';
  values: (number | null | undefined)[];
}

export interface Aligned {
  x: number[];
  lines: Line[];
  wrong: number; // points that are not finite
  dropped: number; // points that a logarithm cannot take
}

/** All x of several sorted arrays, each once. */
export function mergeX(columns: ArrayLike<number>[]): number[] {
  if (columns.length === 1) return unique(columns[0]);
  const all = new Float64Array(columns.reduce((n, c) => n + c.length, 0));
  let at = 0;
  for (const column of columns) {
    all.set(column, at);
    at += column.length;
  }
  return unique(all.sort());
}

function unique(sorted: ArrayLike<number>): number[] {
  const found: number[] = [];
  for (let i = 0; i < sorted.length; i++) if (i === 0 || sorted[i] !== sorted[i - 1]) found.push(sorted[i]);
  return found;
}

/**
 * Values of one series at every x of the panel. Infinity: no point here; NaN: a gap. Of several points at one x the
 * last counts.
 */
export function place(x: ArrayLike<number>, y: ArrayLike<number>, all: number[]): (number | null | undefined)[] {
  const values = new Array<number | null | undefined>(all.length).fill(undefined);
  let k = 0;
  for (let i = 0; i < x.length; i++) {
    while (k < all.length && all[k] < x[i]) k++;
    if (y[i] === Infinity || y[i] === -Infinity) continue;
    values[k] = Number.isNaN(y[i]) ? null : y[i];
  }
  return values;
}

/** Gaps in place of values that have no logarithm; how many. */
export function positive(values: (number | null | undefined)[]): number {
  let dropped = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value !== null && value !== undefined && value <= 0) {
      values[i] = null;
      dropped++;
    }
  }
  return dropped;
}

/** Everything that uPlot needs to know of one panel. */
export function align(panel: Panel, log: boolean): Aligned {
  const x = panel.parts.length ? mergeX(panel.parts.map(p => p.x)) : [];
  const lines: Line[] = [];
  for (const part of panel.parts) {
    const roles =
      part.kind === 'band'
        ? (['low', 'high'] as const)
        : part.columns > 1
          ? (['faint', 'line'] as const)
          : (['line'] as const);
    roles.forEach((role, k) =>
      lines.push({ label: part.label, rank: part.rank, role, values: place(part.x, part.y[k], x) })
    );
  }
  const wrong = panel.parts.reduce((n, p) => n + (p.kind === 'line' ? p.wrong : 0), 0);
  const some = lines.some(l => l.values.some(v => typeof v === 'number' && v > 0));
  const dropped = log && some ? lines.reduce((n, l) => n + positive(l.values), 0) : 0;
  return { x, lines, wrong, dropped };
}

/** Whether a panel can be drawn on a logarithmic scale at all. */
export function canLog(aligned: Aligned): boolean {
  return aligned.lines.some(l => l.values.some(v => typeof v === 'number' && v > 0));
}

/** What a panel's curves do not show. */
export function notesOf(aligned: Aligned, log: boolean, restarts: number, { __ }: Words): string {
  const { wrong, dropped } = aligned;
  const linear = log && aligned.x.length > 0 && !canLog(aligned);
  return [
    wrong && __('%1 not finite', wrong),
    dropped && __('%1 not positive, left out', dropped),
    linear && __('no positive value: not logarithmic'),
    restarts && __('restarted %1×', restarts)
  ]
    .filter(Boolean)
    .join(', ');
}

/** Seconds in the unit that suits a duration, and its name. As in the static picture. */
export function timeUnit(seconds: number): [number, string] {
  return seconds < 180 ? [1, 's'] : seconds < 10800 ? [60, 'min'] : [3600, 'h'];
}

/** A number as a person reads it in a legend. */
export function format(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}
