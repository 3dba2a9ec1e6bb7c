/** Of a long list only what is in sight is drawn. */

const MARGIN = 6; // rows more on either side, so that scrolling shows no gap

/** First row and the row behind the last one. */
export function inSight(top: number, height: number, row: number, count: number): [number, number] {
  const first = Math.max(0, Math.floor(top / row) - MARGIN);
  return [Math.min(first, Math.max(0, count - 1)), Math.min(count, Math.ceil((top + height) / row) + MARGIN)];
}

/** Where to scroll so that a row is in sight; the same place when it is. */
export function reveal(index: number, top: number, height: number, row: number): number {
  if (index * row < top) return index * row;
  return Math.max(top, (index + 1) * row - height);
}

/** Where a key leads to. */
export function step(key: string, index: number, count: number, page: number): number | null {
  const to: Record<string, number> = {
    ArrowUp: index - 1,
    ArrowDown: index + 1,
    PageUp: index - page,
    PageDown: index + page,
    Home: 0,
    End: count - 1
  };
  if (!(key in to) || !count) return null;
  return Math.min(count - 1, Math.max(0, to[key]));
}
