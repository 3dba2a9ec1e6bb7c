/** What is looked at along x, and how mouse and keyboard change it. */
import type uPlot from 'uplot';

export type Range = [number, number];

/** Another part of the same width, `by` widths further. */
export function pan([from, to]: Range, by: number): Range {
  const way = (to - from) * by;
  return [from + way, to + way];
}

/** A part `factor` times as wide around a place; null where nothing is left to see. */
export function zoom([from, to]: Range, factor: number, at = (from + to) / 2): Range | null {
  return sensible([at - (at - from) * factor, at + (to - at) * factor]);
}

/** A range that numbers can tell apart, in order. */
export function sensible([a, b]: Range): Range | null {
  const [from, to] = a < b ? [a, b] : [b, a];
  return Number.isFinite(from) && Number.isFinite(to) && to - from > 1e-9 * Math.max(1, Math.abs(from), Math.abs(to))
    ? [from, to]
    : null;
}

/** What a key does to the range: undefined when it is no key of ours, null when all is to be seen. */
export function pressed(key: string, shown: Range): Range | null | undefined {
  if (key === 'ArrowLeft') return pan(shown, -0.2);
  if (key === 'ArrowRight') return pan(shown, 0.2);
  if (key === '+' || key === '=') return zoom(shown, 0.5) ?? shown;
  if (key === '-') return zoom(shown, 2) ?? shown;
  return key === '0' || key === 'Home' || key === 'Escape' ? null : undefined;
}

/**
 * Drag to zoom, shift-drag or wheel sideways to pan, ctrl-wheel to zoom, double click for all. A plain wheel scrolls
 * the page.
 */
export function mouse(
  chosen: (range: Range | null) => void
): Pick<uPlot.Options, 'plugins'> & { bind: uPlot.Cursor.Bind } {
  const shown = (u: uPlot): Range => [u.scales.x.min!, u.scales.x.max!];
  const drag = (u: uPlot, down: MouseEvent): void => {
    const begin = shown(u),
      unit = (begin[1] - begin[0]) / u.over.clientWidth;
    const move = (event: MouseEvent): void =>
      chosen([begin[0] - (event.clientX - down.clientX) * unit, begin[1] - (event.clientX - down.clientX) * unit]);
    const up = (): void => {
      document.removeEventListener('mousemove', move);
      document.removeEventListener('mouseup', up);
    };
    document.addEventListener('mousemove', move);
    document.addEventListener('mouseup', up);
    down.preventDefault();
  };
  const wheel = (u: uPlot, event: WheelEvent): void => {
    const way = event.deltaX || (event.shiftKey ? event.deltaY : 0);
    const range = event.ctrlKey
      ? zoom(shown(u), 1.002 ** event.deltaY, u.posToVal(event.clientX - u.over.getBoundingClientRect().left, 'x'))
      : way
        ? pan(shown(u), way / u.over.clientWidth)
        : null;
    if (!range) return;
    event.preventDefault();
    chosen(range);
  };
  return {
    bind: {
      mousedown: (u, _, handle) => event => (event.shiftKey ? drag(u, event) : handle(event), null),
      dblclick: () => () => (chosen(null), null)
    },
    plugins: [
      {
        hooks: {
          init: u => u.over.addEventListener('wheel', event => wheel(u, event), { passive: false }),
          setSelect: u => {
            const { left, width } = u.select;
            if (width < 3) return;
            const range = sensible([u.posToVal(left, 'x'), u.posToVal(left + width, 'x')]);
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            if (range) chosen(range);
          }
        }
      }
    ]
  };
}
