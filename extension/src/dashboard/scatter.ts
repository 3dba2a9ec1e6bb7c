/** Where the points of a scatter plot stand; pure. */
import { given, value } from '../shared/format';
import type { Plain } from '../tokens';

export interface Scale {
  place: (x: Plain) => number; // between 0 and 1
  ticks: { at: number; text: string }[];
  log: boolean;
}

const FEW = 8; // so many different numbers have a tick each

/** Round numbers, about so many. */
export function ticksOf(low: number, high: number, about = 5): number[] {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find(n => rough <= n * power * 1.0001) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.max(0, Math.floor(high / step + 1e-9) - first + 1) }, (_, i) =>
    Number(((first + i) * step).toPrecision(12))
  );
}

function logTicks(low: number, high: number): number[] {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const each = Math.ceil((last - first + 1) / 6);
  const found = Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i)).filter(
    (x, i) => i % each === 0 && x >= low * 0.999 && x <= high * 1.001
  );
  return found.length > 1 ? found : [low, high];
}

const margin = (share: number): number => 0.04 + 0.92 * share; // no point stands on the edge

/** A tick at each number, where they are few and not too close. */
function ownTicks(found: number[], place: (x: number) => number): number[] | null {
  const known = [...new Set(found)].sort((a, b) => a - b);
  return known.length <= FEW && known.every((x, i) => !i || place(x) - place(known[i - 1]) > 0.09) ? known : null;
}

function numbers(found: number[], wide: number, own: boolean): Scale {
  let [low, high] = [Math.min(...found), Math.max(...found)];
  const log = low > 0 && high / low >= wide;
  if (low === high) [low, high] = [low - (Math.abs(low) / 2 || 1), high + (Math.abs(high) / 2 || 1)];
  const shape = log ? Math.log10 : (x: number): number => x;
  const place = (x: Plain): number => margin((shape(Number(x)) - shape(low)) / (shape(high) - shape(low)));
  const ticks = ((own && ownTicks(found, place)) || (log ? logTicks(low, high) : ticksOf(low, high))).map(x => ({
    at: place(x),
    text: own ? given(x) : value(x)
  }));
  return { place, ticks, log };
}

function words(found: Plain[]): Scale {
  const known = [...new Set(found.map(x => value(x)))];
  const place = (x: Plain): number => (known.indexOf(value(x)) + 0.5) / known.length;
  const each = Math.ceil(known.length / 12);
  return {
    place,
    ticks: known.map((text, i) => ({ at: (i + 0.5) / known.length, text })).filter((_, i) => i % each === 0),
    log: false
  };
}

/** Numbers along a line; everything else side by side. */
export function scaleOf(found: Plain[], { wide = 10, own = true } = {}): Scale {
  // wide: the greatest over the least from which on a scale is logarithmic
  return found.length && found.every(x => typeof x === 'number') ? numbers(found as number[], wide, own) : words(found);
}
