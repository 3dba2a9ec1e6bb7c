/** A device's use over time, as a line and as numbers. */

export interface Use {
  every: number; // seconds
  use: (number | null)[]; // percent, the newest last
}

export const WIDTH = 100;
export const HEIGHT = 24;

/** The last minutes of it. */
export function lastMinutes({ every, use }: Use, minutes: number): (number | null)[] {
  const count = every > 0 ? Math.max(2, Math.round((minutes * 60) / every)) : use.length;
  return use.slice(-count);
}

/** An SVG path; the newest at the right edge, a gap where nothing is known. */
export function path(use: (number | null)[], slots: number): string {
  const dx = WIDTH / Math.max(1, slots - 1);
  let [text, pen] = ['', 'M'];
  use.forEach((y, i) => {
    if (y === null) {
      pen = 'M';
      return;
    }
    const x = WIDTH - (use.length - 1 - i) * dx;
    text += `${pen}${x.toFixed(1)} ${(HEIGHT - 1 - (Math.min(100, Math.max(0, y)) / 100) * (HEIGHT - 2)).toFixed(1)}`;
    pen = 'L';
  });
  return text;
}

/** Now, mean and largest; null where nothing is known. */
export function summary(use: (number | null)[]): { now: number | null; mean: number | null; most: number | null } {
  const known = use.filter((y): y is number => y !== null);
  if (!known.length) return { now: null, mean: null, most: null };
  return { now: use[use.length - 1], mean: known.reduce((a, b) => a + b) / known.length, most: Math.max(...known) };
}
