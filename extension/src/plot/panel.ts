/** One metric: a caption, the curve, a legend. */
import uPlot from 'uplot';
import type { Colors } from './colors';
import type { Panel } from './decode';
import { align, canLog, format, notesOf, type Aligned, type Line } from './series';
import type { Words } from './words';
import { mouse, pressed, type Range } from './zoom';

const LEGEND = 12; // more lines are counted, not listed

export interface Frame {
  colors: Colors;
  width: number; // pixels
  height: number;
  log: boolean;
  along: string; // what stands below
  unit: number; // steps or seconds in one of what stands below
  range: Range | null; // what is looked at, in steps or seconds
  restarts: number[];
}

/** What a panel is given by the plot that it belongs to. */
export interface Surroundings {
  words: Words;
  sync: string; // panels with the same one share their cursor
  chosen(range: Range | null): void;
  actions(name: string): HTMLElement[]; // buttons in the caption
}

export class PanelView {
  readonly root = document.createElement('figure');
  private readonly caption = document.createElement('figcaption');
  private readonly value = element('span');
  private readonly place = document.createElement('div');
  private readonly legend = document.createElement('ul');
  private items: HTMLElement[] = [];
  private chart: uPlot | null = null;
  private shape = '';
  private aligned: Aligned = { x: [], lines: [], wrong: 0, dropped: 0 };
  private shown: Line[] = [];
  private frame!: Frame;
  private named = '';
  private panel: Panel | null = null;
  name = '';

  constructor(private readonly surroundings: Surroundings) {
    this.root.className = 'lb-panel';
    this.legend.className = 'lb-legend';
    this.place.setAttribute('role', 'img');
    this.place.tabIndex = 0;
    this.place.onkeydown = event => this.press(event);
    this.root.append(this.caption, this.place, this.legend);
  }

  update(panel: Panel, frame: Frame): void {
    const { unit } = frame;
    const along = unit === 1 ? panel : { ...panel, parts: panel.parts.map(p => ({ ...p, x: p.x.map(v => v / unit) })) };
    this.aligned = align(along, frame.log);
    this.shown = this.aligned.lines.filter(l => l.role === 'line');
    this.frame = frame;
    this.panel = panel;
    this.name = panel.name;
    const logarithmic = frame.log && canLog(this.aligned);
    const shape = JSON.stringify([
      this.aligned.lines.map(l => [l.role, l.rank, l.label]),
      logarithmic,
      frame.along,
      frame.colors.text,
      frame.colors.line(0)
    ]);
    const data = [this.aligned.x, ...this.aligned.lines.map(l => l.values)] as uPlot.AlignedData;
    if (shape !== this.shape) {
      this.chart?.destroy();
      this.chart = new uPlot(this.options(logarithmic), data, this.place);
      this.shape = shape;
    } else this.chart!.setData(data);
    if (this.chart!.width !== frame.width || this.chart!.height !== frame.height) this.chart!.setSize(frame);
    this.describe();
  }

  /** Whether these are the numbers that it shows. */
  shows(panel: Panel): boolean {
    return this.panel === panel;
  }

  /** The same numbers, another part of them. */
  look(frame: Frame): void {
    this.frame = frame;
    this.chart?.setScale('x', { min: this.ends()[0], max: this.ends()[1] });
  }

  /** The part of x that is to be seen, as it stands below; a single point has room around it. */
  private ends(): Range {
    const { x } = this.aligned,
      { range, unit } = this.frame;
    if (range) return [range[0] / unit, range[1] / unit];
    const [from, to] = x.length ? [x[0], x[x.length - 1]] : [0, 1];
    return from === to ? [from - 1, to + 1] : [from, to];
  }

  private readonly choose = (range: Range | null): void =>
    this.surroundings.chosen(range && [range[0] * this.frame.unit, range[1] * this.frame.unit]);

  private press(event: KeyboardEvent): void {
    if (!this.chart || event.ctrlKey || event.metaKey || event.altKey) return;
    const range = pressed(event.key, this.ends());
    if (range === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.choose(range);
  }

  private options(logarithmic: boolean): uPlot.Options {
    const { colors, along, width, height } = this.frame;
    const axis = {
      stroke: colors.faint,
      grid: { stroke: colors.grid, width: 0.5 },
      ticks: { show: false },
      font: '11px sans-serif',
      labelFont: '11px sans-serif'
    };
    const lines = this.aligned.lines;
    const series: uPlot.Series[] = lines.map(line => ({
      label: line.label,
      stroke:
        line.role === 'line'
          ? colors.line(line.rank)
          : transparent(colors.line(line.rank), line.role === 'faint' ? 0.3 : 0),
      width: 1.3,
      dash: colors.dash(line.rank),
      points: { show: line.role === 'line' ? this.few : false, size: 4 }
    }));
    const bands = lines.flatMap((line, k) =>
      line.role === 'low'
        ? [{ series: [k + 2, k + 1] as [number, number], fill: transparent(colors.line(line.rank), 0.22) }]
        : []
    );
    const { bind, plugins } = mouse(this.choose);
    const heard = (type: string): boolean => type === 'mousemove' || type === 'mouseleave';
    return {
      width,
      height,
      series: [{}, ...series],
      bands,
      plugins,
      legend: { show: false },
      cursor: {
        y: false,
        points: { size: 5 },
        bind,
        drag: { setScale: false },
        sync: { key: this.surroundings.sync, scales: ['x', null], setSeries: false, filters: { pub: heard } }
      },
      scales: {
        x: { time: false, range: () => this.ends() },
        y: logarithmic ? { distr: 3, log: 10 } : { range: room }
      },
      axes: [
        { ...axis, label: along, labelSize: 16, labelGap: 0, size: 24, space: 45 },
        { ...axis, size: 52, space: 28, values: (_, at) => at.map(v => (v === null ? '' : format(v))) }
      ],
      hooks: {
        draw: [u => this.drawRestarts(u)],
        setCursor: [u => this.say(u.cursor.left! < 0 ? null : (u.cursor.idx ?? null))]
      }
    };
  }

  /** Single points are dots while there are few: a line through one point cannot be seen. */
  private readonly few = (u: uPlot): boolean => u.data[0].length < 30;

  private drawRestarts(u: uPlot): void {
    const { left, top, width, height } = u.bbox,
      context = u.ctx;
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

  /** Caption, legend and the name for a screen reader, anew only when they are others. */
  private describe(): void {
    const { x, lines } = this.aligned,
      shown = this.shown,
      { __ } = this.surroundings.words;
    const notes = notesOf(this.aligned, this.frame.log, this.frame.restarts.length, this.surroundings.words);
    const named = JSON.stringify([this.name, notes, this.shape]);
    if (named !== this.named) {
      this.named = named;
      this.caption.title = [this.name, notes].filter(Boolean).join(', '); // all of it, where the place is narrow
      this.caption.replaceChildren(
        element('strong', this.name),
        this.value,
        ...(notes ? [element('em', notes)] : []),
        ...this.surroundings.actions(this.name)
      );
      this.items = (shown.length > 1 || lines.length > shown.length ? shown.slice(0, LEGEND) : []).map(line => {
        const item = element('li', line.label);
        item.style.setProperty('--lb-color', this.frame.colors.line(line.rank));
        return item;
      });
      this.legend.replaceChildren(
        ...this.items,
        ...(shown.length > LEGEND ? [element('li', __('and %1 more', shown.length - LEGEND))] : [])
      );
    }
    this.place.setAttribute(
      'aria-label',
      `${this.name}: ${shown.map(l => `${l.label} ${format(near(l.values, x.length - 1))}`).join(', ')} at ${this.frame.along} ${format(x[x.length - 1])}`
    );
    this.say(null);
  }

  /** Values below the mouse, or the last ones. */
  private say(index: number | null): void {
    const { x } = this.aligned,
      shown = this.shown;
    const value = (k: number): string => format(near(shown[k].values, index ?? x.length - 1));
    const at = index === null || x[index] === undefined ? '' : ` at ${format(x[index])}`;
    write(this.value, shown.length === 1 ? `${value(0)}${at}` : at);
    if (shown.length > 1) this.items.forEach((item, k) => write(item, `${shown[k].label} ${value(k)}`));
  }

  /** One row per line for the table. */
  rows(): string[][] {
    return this.shown.map(line => {
      const values = line.values.filter((v): v is number => typeof v === 'number');
      const ends = values.length
        ? [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))]
        : [null, null];
      return [this.name, line.label, ...[...ends, near(line.values, line.values.length - 1)].map(format)];
    });
  }

  /** What a picture of this panel is made of. */
  get canvas(): HTMLCanvasElement | null {
    return this.chart?.ctx.canvas ?? null;
  }

  get legends(): { text: string; color: string }[] {
    return this.items.map((item, k) => ({
      text: item.textContent!,
      color: this.frame.colors.line(this.shown[k].rank)
    }));
  }

  destroy(): void {
    this.chart?.destroy();
    this.root.remove();
  }
}

function write(place: HTMLElement, text: string): void {
  if (place.textContent !== text) place.textContent = text;
}

/** The value at an index or the nearest before it. */
function near(values: (number | null | undefined)[], index: number): number | null {
  for (let i = Math.min(index, values.length - 1); i >= 0; i--)
    if (values[i] !== undefined) return values[i] as number | null;
  return null;
}

export function element<K extends keyof HTMLElementTagNameMap>(tag: K, text = ''): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

/** Some room above and below; a flat line stands in the middle. */
function room(_: uPlot, low: number | null, high: number | null): [number | null, number | null] {
  if (low === null || high === null) return [null, null];
  const half = Math.abs(low) / 10 || 1;
  return low === high ? [low - half, high + half] : (uPlot.rangeNum(low, high, 0.1, true) as [number, number]);
}

/** A colour with less of it. */
function transparent(color: string, opacity: number): string {
  return `color-mix(in srgb, ${color} ${100 * opacity}%, transparent)`;
}
