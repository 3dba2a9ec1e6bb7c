/** JupyterLab's own colours, so that a plot is readable in light, dark and high contrast. */

const LINES = ['--jp-brand-color1', '--jp-warn-color1', '--jp-success-color1', '--jp-error-color1', '--jp-info-color1'];
const DASHES: (number[] | undefined)[] = [undefined, [6, 3], [2, 2], [8, 3, 2, 3]];

export interface Colors {
  text: string;
  faint: string;
  grid: string;
  line(rank: number): string;
  dash(rank: number): number[] | undefined;
}

/** What the page's theme says now. */
export function readColors(element: Element): Colors {
  const style = getComputedStyle(element);
  const read = (name: string, fallback: string): string => style.getPropertyValue(name).trim() || fallback;
  const lines = LINES.map(name => read(name, style.color));
  return {
    text: read('--jp-content-font-color1', style.color),
    faint: read('--jp-content-font-color2', style.color),
    grid: read('--jp-border-color2', 'rgba(128,128,128,.4)'),
    line: rank => lines[rank % lines.length],
    dash: rank => DASHES[Math.floor(rank / lines.length) % DASHES.length]
  };
}
