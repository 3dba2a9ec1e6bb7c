/** All panels of a run, drawn from what a source answers. Knows nothing of notebooks: a cell uses it, and so can a panel of JupyterLab. */
import { Asker } from './asker';
import { readColors } from './colors';
import { Controls, type Choice } from './controls';
import { decodePanels, type Panel } from './decode';
import type { Options, Reply, SeriesReply, Source } from './messages';
import { element, PanelView } from './panel';
import { timeUnit } from './series';

export class Renderer {
  readonly root = element('section');
  private readonly grid = element('div');
  private readonly table = element('table');
  private readonly note = element('p');
  private readonly controls: Controls;
  private readonly choice: Choice;
  private readonly views: PanelView[] = [];
  private readonly asker: Asker;
  private readonly timer: ReturnType<typeof setInterval>;
  private readonly undo: (() => void)[] = [];
  private reply: SeriesReply | null = null;
  private panels: Panel[] = [];
  private cursor = '';
  private visible = false;
  private over = false;

  constructor(private readonly source: Source, options: Partial<Options>, title: string) {
    this.choice = { x: 'step', smooth: 0, log: false, ranks: 'band', ...options, filter: '', table: false };
    this.controls = new Controls(this.choice, title, asks => (asks ? this.asker.now() : this.draw()));
    this.root.className = 'lb-plot';
    this.root.setAttribute('aria-label', `live plot of ${title}`);
    this.grid.className = 'lb-grid';
    this.note.hidden = true;
    this.root.append(this.controls.root, this.note, this.grid, this.table);
    this.asker = new Asker(id => this.ask(id));
    this.undo.push(source.listen((reply, buffers) => this.take(reply, buffers)));
    this.observe();
    this.timer = setInterval(() => this.tick(), 200);
  }

  private observe(): void {
    const seen = new IntersectionObserver(entries => {
      this.visible = entries[entries.length - 1].isIntersecting;
      if (this.visible) this.tick();
    });
    let width = 0;
    const sized = new ResizeObserver(() => {
      if (Math.abs(this.root.clientWidth - width) < 2) return;
      width = this.root.clientWidth;
      this.draw();
    });
    const themed = new MutationObserver(() => [0, 300].forEach(wait => setTimeout(() => this.draw(), wait)));
    seen.observe(this.root);
    sized.observe(this.root);
    themed.observe(document.body, { attributes: true, attributeFilter: ['data-jp-theme-name', 'data-jp-theme-light'] });
    this.undo.push(() => [seen, sized, themed].forEach(o => o.disconnect()));
  }

  /** Nothing is asked that nobody sees. */
  private tick(): void {
    if (this.over || !this.visible || document.hidden || !this.root.isConnected) return;
    this.asker.tick(performance.now());
    if (this.asker.silent > 1) this.controls.say('the kernel does not answer', false);
  }

  private ask(id: number): void {
    const { x, smooth, ranks, filter } = this.choice;
    this.source.ask({ want: 'series', id, cursor: this.cursor, x, smooth, ranks, filter, width: Math.round(this.size().width) });
  }

  private take(reply: Reply, buffers: DataView[]): void {
    if (reply.kind === 'gone') {
      this.over = true;
      this.controls.say(reply.text, false);
    }
    if (reply.kind !== 'series' && reply.kind !== 'same') return;
    if (!this.asker.answered(reply.id, reply.kind === 'series', performance.now())) return;
    if (reply.kind === 'series') {
      this.panels = decodePanels(reply, buffers);
      this.reply = reply;
      this.cursor = reply.cursor;
      if (reply.more) this.asker.now();
      this.draw();
    }
    const points = this.panels.reduce((n, p) => n + p.parts.reduce((m, part) => m + (part.kind === 'line' ? part.points : 0), 0), 0);
    this.controls.say(points ? `live, ${points.toLocaleString('en')} points` : 'live', true);
  }

  private size(): { columns: number; width: number; height: number } {
    const room = this.root.clientWidth || 640;
    const columns = Math.max(1, Math.min(this.panels.length || 1, 3, Math.floor(room / 260)));
    const width = Math.floor(Math.min((room - 16 * (columns - 1)) / columns, columns === 1 ? 860 : 1e4));
    return { columns, width, height: Math.round(columns === 1 ? Math.min(300, 0.55 * width) : Math.min(220, 0.62 * width)) };
  }

  private draw(): void {
    const reply = this.reply;
    if (!reply || !this.root.isConnected) return;
    const { columns, width, height } = this.size();
    const spans = this.panels.flatMap(p => p.parts.map(part => part.x[part.x.length - 1] ?? 0));
    const [unit, word] = reply.x === 'time' ? timeUnit(spans.reduce((a, b) => Math.max(a, b), 0)) : [1, ''];
    const frame = { colors: readColors(this.root), width, height, log: this.choice.log, along: word ? `time (${word})` : 'step', restarts: reply.restarts.map(r => r / unit) };
    while (this.views.length > this.panels.length) this.views.pop()!.destroy();
    this.grid.style.gridTemplateColumns = `repeat(${columns}, ${width}px)`;
    this.panels.forEach((panel, k) => {
      if (!this.views[k]) this.grid.append((this.views[k] = new PanelView()).root);
      this.views[k].update(unit === 1 ? panel : { ...panel, parts: panel.parts.map(p => ({ ...p, x: p.x.map(v => v / unit) })) }, frame);
    });
    this.controls.fit(reply.names, this.panels.some(p => p.parts.length > 1));
    const hidden = reply.chosen - this.panels.length;
    this.say(hidden > 0 ? `the first ${this.panels.length} of ${reply.chosen} metrics; the filter finds others`
      : this.panels.length ? '' : reply.names && this.choice.filter ? `no metric has “${this.choice.filter}” in its name`
      : reply.names ? `not logged yet; ${reply.names} other metrics are`
      : 'no metrics yet: lb.log(step=i, loss=loss) in the launched function');
    this.fillTable();
  }

  private say(text: string): void {
    this.note.hidden = !text;
    if (this.note.textContent !== text) this.note.textContent = text;
  }

  private fillTable(): void {
    this.table.hidden = !this.choice.table;
    if (this.table.hidden) return;
    const line = (tag: 'th' | 'td', cells: string[]): HTMLTableRowElement => {
      const row = element('tr');
      row.append(...cells.map(cell => element(tag, cell)));
      return row;
    };
    this.table.replaceChildren(line('th', ['metric', 'series', 'least', 'greatest', 'last']), ...this.views.flatMap(v => v.rows()).map(cells => line('td', cells)));
  }

  /** The plot was put into the page, maybe elsewhere than before. */
  moved(): void {
    this.asker.now();
    this.draw();
  }

  destroy(): void {
    clearInterval(this.timer);
    this.undo.forEach(f => f());
    this.views.forEach(v => v.destroy());
    this.root.remove();
  }
}
