/** One metric: a caption, the curve, a legend. */
import uPlot from 'uplot';
import type { Colors } from './colors';
import type { Panel } from './decode';
import { align, canLog, format, type Aligned } from './series';

const LEGEND = 12; // more lines are counted, not listed

export interface Frame {
  colors: Colors;
  width: number; // pixels
  height: number;
  log: boolean;
  along: string; // what stands below
  restarts: number[];
}

export class PanelView {
  readonly root = document.createElement('figure');
  private readonly caption = document.createElement('figcaption');
  private readonly place = document.createElement('div');
  private readonly legend = document.createElement('ul');
  private chart: uPlot | null = null;
  private shape = '';
  private aligned: Aligned = { x: [], lines: [], wrong: 0, dropped: 0 };
  private frame!: Frame;
  private name = '';

  constructor() {
    this.root.className = 'lb-panel';
    this.legend.className = 'lb-legend';
    this.place.setAttribute('role', 'img');
    this.root.append(this.caption, this.place, this.legend);
  }

  update(panel: Panel, frame: Frame): void {
    this.aligned = align(panel, frame.log);
    this.frame = frame;
    this.name = panel.name;
    const logarithmic = frame.log && canLog(this.aligned);
    const shape = JSON.stringify([this.aligned.lines.map(l => [l.role, l.rank, l.label]), logarithmic, frame.along, frame.colors.text, frame.colors.line(0)]);
    const data = [this.aligned.x, ...this.aligned.lines.map(l => l.values)] as uPlot.AlignedData;
    if (shape !== this.shape) {
      this.chart?.destroy();
      this.chart = new uPlot(this.options(logarithmic), data, this.place);
      this.shape = shape;
    } else this.chart!.setData(data, !this.zoomed());
    if (this.chart!.width !== frame.width || this.chart!.height !== frame.height) this.chart!.setSize(frame);
    this.say(null);
  }

  private zoomed(): boolean {
    const { min, max } = this.chart!.scales.x, x = this.chart!.data[0];
    return min !== undefined && max !== undefined && x.length > 1 && (min! > x[0]! || max! < x[x.length - 1]!);
  }

  private options(logarithmic: boolean): uPlot.Options {
    const { colors, along, width, height } = this.frame;
    const axis = { stroke: colors.faint, grid: { stroke: colors.grid, width: 0.5 }, ticks: { show: false }, font: '11px sans-serif', labelFont: '11px sans-serif' };
    const lines = this.aligned.lines;
    const series: uPlot.Series[] = lines.map(line => ({
      label: line.label,
      stroke: line.role === 'line' ? colors.line(line.rank) : transparent(colors.line(line.rank), line.role === 'faint' ? 0.3 : 0),
      width: 1.3,
      dash: colors.dash(line.rank),
      points: { show: line.role === 'line' ? this.few : false, size: 4 }
    }));
    const bands = lines.flatMap((line, k) => (line.role === 'low' ? [{ series: [k + 2, k + 1] as [number, number], fill: transparent(colors.line(line.rank), 0.22) }] : []));
    return {
      width, height, series: [{}, ...series], bands,
      legend: { show: false },
      cursor: { y: false, points: { size: 5 } },
      scales: { x: { time: false }, y: logarithmic ? { distr: 3, log: 10 } : {} },
      axes: [{ ...axis, label: along, labelSize: 16, labelGap: 0, size: 24, space: 45 }, { ...axis, size: 52, space: 28, values: (_, at) => at.map(v => (v === null ? '' : format(v))) }],
      hooks: { draw: [u => this.drawRestarts(u)], setCursor: [u => this.say(u.cursor.idx ?? null)] }
    };
  }

  /** Single points are dots while there are few: a line through one point cannot be seen. */
  private readonly few = (u: uPlot): boolean => u.data[0].length < 30;

  private drawRestarts(u: uPlot): void {
    const { left, top, width, height } = u.bbox, context = u.ctx;
    context.save();
    context.strokeStyle = this.frame.colors.faint;
    context.lineWidth = uPlot.pxRatio;
    context.setLineDash([3 * uPlot.pxRatio, 3 * uPlot.pxRatio]);
    context.beginPath();
    for (const place of this.frame.restarts) {
      const x = u.valToPos(place, 'x', true);
      if (x < left || x > left + width) continue;
      context.moveTo(x, top);
      context.lineTo(x, top + height);
    }
    context.stroke();
    context.restore();
  }

  /** Values below the mouse, or the last ones. */
  private say(index: number | null): void {
    const { x, lines, wrong, dropped } = this.aligned;
    const shown = lines.filter(l => l.role === 'line');
    const value = (k: (typeof shown)[number]): string => format(near(k.values, index ?? x.length - 1));
    const notes = [wrong && `${wrong} not finite`, dropped && `${dropped} not positive, left out`, this.frame.restarts.length && `restarted ${this.frame.restarts.length}×`].filter(Boolean);
    const at = index === null || x[index] === undefined ? '' : ` at ${format(x[index])}`;
    this.caption.replaceChildren(element('strong', this.name), element('span', shown.length === 1 ? `${value(shown[0])}${at}` : at));
    this.caption.title = [this.name, ...notes].join(', '); // all of it, where the place is narrow
    if (notes.length) this.caption.append(element('em', notes.join(', ')));
    this.legend.replaceChildren(...(shown.length > 1 || lines.length > shown.length ? shown.slice(0, LEGEND) : []).map(line => {
      const item = element('li', shown.length > 1 ? `${line.label} ${value(line)}` : line.label);
      item.style.setProperty('--lb-color', this.frame.colors.line(line.rank));
      return item;
    }));
    if (shown.length > LEGEND) this.legend.append(element('li', `and ${shown.length - LEGEND} more`));
    this.place.setAttribute('aria-label', `${this.name}: ${shown.map(l => `${l.label} ${format(near(l.values, x.length - 1))}`).join(', ')} at ${this.frame.along} ${format(x[x.length - 1])}`);
  }

  /** One row per line for the table. */
  rows(): string[][] {
    return this.aligned.lines.filter(l => l.role === 'line').map(line => {
      const values = line.values.filter((v): v is number => typeof v === 'number');
      const ends = values.length ? [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))] : [null, null];
      return [this.name, line.label, ...[...ends, near(line.values, line.values.length - 1)].map(format)];
    });
  }

  destroy(): void {
    this.chart?.destroy();
    this.root.remove();
  }
}

/** The value at an index or the nearest before it. */
function near(values: (number | null | undefined)[], index: number): number | null {
  for (let i = Math.min(index, values.length - 1); i >= 0; i--) if (values[i] !== undefined) return values[i] as number | null;
  return null;
}

export function element<K extends keyof HTMLElementTagNameMap>(tag: K, text = ''): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

/** A colour with less of it. */
function transparent(color: string, opacity: number): string {
  return `color-mix(in srgb, ${color} ${100 * opacity}%, transparent)`;
}
