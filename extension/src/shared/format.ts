/** Numbers as a person reads them. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Plain, Sets } from '../tokens';

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** 12.3 GB; powers of 1000, as on a GPU's box. */
export function bytes(size: number | null): string {
  if (size === null) return '';
  const power = Math.min(Math.floor(Math.log10(Math.max(size, 1)) / 3), UNITS.length - 1);
  const value = size / 1000 ** power;
  return `${value >= 100 || power === 0 ? value.toFixed(0) : value.toFixed(1)} ${UNITS[power]}`;
}

/** Two units at most: 45 s, 12 min, 3 h 20 min, 2 d 4 h. */
export function duration(seconds: number, trans: TranslationBundle): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return trans.__('%1 s', s);
  if (s < 3600) return trans.__('%1 min', Math.floor(s / 60));
  const [big, small] = s < 86_400 ? [3600, 60] : [86_400, 3600];
  const [n, rest] = [Math.floor(s / big), Math.floor((s % big) / small)];
  const first = s < 86_400 ? trans.__('%1 h', n) : trans.__('%1 d', n);
  if (!rest) return first;
  return `${first} ${s < 86_400 ? trans.__('%1 min', rest) : trans.__('%1 h', rest)}`;
}

/** Four digits that matter. */
export function value(x: Plain): string {
  if (typeof x === 'string') return x;
  if (x === null) return 'None';
  if (typeof x === 'boolean') return x ? 'True' : 'False';
  if (!Number.isFinite(x)) return String(x);
  if (Number.isInteger(x) && Math.abs(x) < 1e6) return String(x);
  const size = Math.abs(x);
  return size >= 1e5 || size < 1e-3 ? x.toExponential(2) : String(Number(x.toPrecision(4)));
}

/** A parameter, as somebody has typed it. */
export function given(x: Plain): string {
  return typeof x === 'number' && Number.isFinite(x) ? String(Number(x.toPrecision(6))) : value(x);
}

/** Seconds until the end, at the pace so far; null where nothing can be said. */
export function timeLeft(
  progress: { done: number; total: number | null } | null,
  started: number | null,
  now: number
): number | null {
  if (!progress || started === null || !(progress.done > 0) || !progress.total) return null;
  return Math.max(0, ((now - started) * (progress.total - progress.done)) / progress.done);
}

/** “12 of 32 sets, 1 failed”. */
export function setsText({ total, done, failed }: Sets, trans: TranslationBundle): string {
  const counted =
    done + failed < total
      ? trans._n('%2 of %1 set', '%2 of %1 sets', total, done + failed)
      : trans._n('%1 set', '%1 sets', total);
  return failed ? `${counted}, ${trans.__('%1 failed', failed)}` : counted;
}

/** “3 of 12 cells”. */
export function cellsText(done: number, total: number, trans: TranslationBundle): string {
  return trans._n('%2 of %1 cell', '%2 of %1 cells', total, done);
}

/** Between 0 and 1. */
export function share(part: number | null | undefined, whole: number | null | undefined): number {
  return part && whole && whole > 0 ? Math.min(1, Math.max(0, part / whole)) : 0;
}
