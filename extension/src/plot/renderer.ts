/**
 * All panels of a run, drawn from what a source answers. Knows nothing of notebooks: a cell uses it, and so does a
 * panel of JupyterLab.
 */
import { Asker } from './asker';
import { readColors } from './colors';
import { Controls, type Choice } from './controls';
import { decodePanels, type Panel } from './decode';
import type { Options, Reply, SeriesReply, Source } from './messages';
import { Pacer } from './pacer';
import { element, PanelView, type Frame } from './panel';
import { download, drawPicture } from './picture';
import { timeUnit } from './series';
import { plainWords, type Words } from './words';
import { sensible, type Range } from './zoom';

const SETTLE = 150; // milliseconds after the last movement of a zoom; then it asks for detail

/** What a place with more room than a cell adds. */
export interface Extras {
  words: Words;
  columns: number; // at most
  silent: string; // what is said when nobody answers
  empty: string; // and when there is no metric
  actions: (name: string) => HTMLElement[]; // buttons in the caption of a panel
  drawn: () => void; // all panels show the newest answer
}

interface Answer {
  reply: SeriesReply;
  panels: Panel[];
  range: Range | null; // that was asked for
}

let number = 0;

export class Renderer {
  readonly root = element('section');
  private readonly grid = element('div');
  private readonly table = element('table');
  private readonly note = element('p');
  private readonly controls: Controls;
  private readonly choice: Choice;
  private readonly extras: Extras;
  private readonly views: PanelView[] = [];
  private readonly pacer = new Pacer();
  private readonly asker: Asker;
  private readonly timer: ReturnType<typeof setInterval>;
  private readonly undo: (() => void)[] = [];
  private readonly sync = `lepton-bench-${++number}`;
  private whole: Answer | null = null; // the newest answer about all of x
  private detail: Answer | null = null; // and about what is looked at
  private range: Range | null = null;
  private asked: Range | null = null;
  private settling: ReturnType<typeof setTimeout> | undefined;
  private cursor = '';
  private visible = false;
  private over = false;
  private ended = false;

  constructor(
    private readonly source: Source,
    options: Partial<Options>,
    title: string,
    extras: Partial<Extras> = {}
  ) {
    const { __ } = extras.words ?? plainWords;
    this.extras = {
      words: plainWords,
      columns: 3,
      silent: __('the kernel does not answer'),
      empty: __('no metrics yet: lb.log(step=i, loss=loss) in the launched function'),
      actions: () => [],
      drawn: () => undefined,
      ...extras
    };
    this.choice = { x: 'step', smooth: 0, log: false, ranks: 'band', ...options, filter: '', table: false };
    this.controls = new Controls(
      this.choice,
      title,
      this.extras.words,
      asks => (asks ? this.wake() : this.draw()),
      () => this.look(null)
    );
    this.root.className = 'lb-plot';
    this.root.setAttribute('aria-label', title ? __('live plot of %1', title) : __('plots'));
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
      if (this.ended) this.wake();
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
    if (this.asker.silent > 1) this.silence();
  }

  /** Nobody answers. */
  silence(): void {
    this.controls.say(this.extras.silent, false);
  }

  /** Ask soon, whatever was thought of the time. */
  wake(): void {
    this.asker.now();
  }

  /** The way to the numbers is there again. */
  again(): void {
    this.over = false;
    this.wake();
  }

  /** Whether the run is over: then it is asked until nothing is new. */
  end(ended: boolean): void {
    if (ended === this.ended) return;
    this.ended = ended;
    this.tell();
    this.wake();
  }

  private ask(id: number): void {
    const { x, smooth, ranks, filter } = this.choice;
    this.asked = this.range;
    this.source.ask({
      want: 'series',
      id,
      cursor: this.cursor,
      x,
      smooth,
      ranks,
      filter,
      width: Math.round(this.size().width),
      ...(this.range ? { range: this.range } : {})
    });
  }

  private take(reply: Reply, buffers: DataView[]): void {
    if (reply.kind === 'gone') {
      this.over = true;
      this.controls.say(reply.text, false);
    }
    if (reply.kind !== 'series' && reply.kind !== 'same') return;
    if (!this.asker.answered(reply.id, reply.kind === 'series', performance.now())) return;
    if (reply.kind === 'series') {
      const answer = { reply, panels: decodePanels(reply, buffers), range: this.asked };
      if (answer.range) this.detail = answer;
      else [this.whole, this.detail] = [answer, null];
      this.cursor = reply.cursor;
      // the end may have come between the question and the answer
      if (reply.more || (this.ended && !this.range)) this.asker.now();
      this.draw();
    } else if (this.ended) this.asker.rest();
    this.tell();
  }

  private tell(): void {
    const { __, _n } = this.extras.words,
      answer = this.answer;
    const points =
      answer?.panels.reduce(
        (n, p) => n + p.parts.reduce((m, part) => m + (part.kind === 'line' ? part.points : 0), 0),
        0
      ) ?? 0;
    const said = [
      this.ended ? '' : __('live'),
      points
        ? answer?.range
          ? _n('%2 point here', '%2 points here', points, points.toLocaleString('en'))
          : _n('%2 point', '%2 points', points, points.toLocaleString('en'))
        : ''
    ]
      .filter(Boolean)
      .join(', ');
    this.controls.say(said, !this.ended);
  }

  /** Look at a part of x, in steps or seconds; null: at all of it. Detail is asked for when the hand rests. */
  look(range: Range | null): void {
    this.range = range && sensible(range);
    if (!this.range) this.detail = null;
    this.draw(true);
    if (this.asker.silent < 2) this.tell();
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.wake(), SETTLE);
  }

  private get answer(): Answer | null {
    return this.range && this.detail && (!this.whole || same(this.range, this.detail.range))
      ? this.detail
      : (this.whole ?? this.detail);
  }

  private size(): { columns: number; width: number; height: number } {
    const room = this.root.clientWidth || 640,
      panels = this.answer?.panels.length || (this.extras.columns > 3 && !this.answer ? 9 : 1);
    const columns = Math.max(
      1,
      Math.min(panels, this.extras.columns, Math.floor(room / (this.extras.columns > 3 ? 320 : 260)))
    );
    const width = Math.floor(Math.min((room - 16 * (columns - 1)) / columns, columns === 1 ? 860 : 1e4));
    return {
      columns,
      width,
      height: Math.round(columns === 1 ? Math.min(300, 0.55 * width) : Math.min(220, 0.62 * width))
    };
  }

  private draw(moved = false): void {
    const answer = this.answer;
    if (!answer || !this.root.isConnected) return;
    const { reply, panels } = answer,
      { columns, width, height } = this.size(),
      { __, _n } = this.extras.words;
    const spans = (this.whole ?? answer).panels.flatMap(p => p.parts.map(part => part.x[part.x.length - 1] ?? 0));
    const [unit, word] = reply.x === 'time' ? timeUnit(spans.reduce((a, b) => Math.max(a, b), 0)) : [1, ''];
    const frame: Frame = {
      colors: readColors(this.root),
      width,
      height,
      log: this.choice.log,
      along: word ? __('time (%1)', word) : __('step'),
      unit,
      range: this.range,
      restarts: reply.restarts.map(r => r / unit)
    };
    while (this.views.length > panels.length) {
      const view = this.views.pop()!;
      this.pacer.drop(view);
      view.destroy();
    }
    this.grid.style.gridTemplateColumns = `repeat(${columns}, ${width}px)`;
    panels.forEach((panel, k) => {
      if (!this.views[k])
        this.grid.append(
          (this.views[k] = new PanelView({
            words: this.extras.words,
            sync: this.sync,
            chosen: range => this.look(range),
            actions: this.extras.actions
          })).root
        );
      const view = this.views[k];
      this.pacer.add(view, () => (moved && view.shows(panel) ? view.look(frame) : view.update(panel, frame)));
    });
    this.controls.fit(
      reply.names,
      panels.some(p => p.parts.length > 1),
      !!this.range
    );
    const hidden = reply.chosen - panels.length;
    this.say(
      hidden > 0
        ? _n(
            'the first %2 of %1 metric; the filter finds others',
            'the first %2 of %1 metrics; the filter finds others',
            reply.chosen,
            panels.length
          )
        : panels.length
          ? ''
          : reply.names && this.choice.filter
            ? __('no metric has “%1” in its name', this.choice.filter)
            : reply.names
              ? __('not logged yet; %1 other metrics are', reply.names)
              : this.extras.empty
    );
    this.pacer.add(this, () => (this.fillTable(), this.extras.drawn()));
  }

  private say(text: string): void {
    this.note.hidden = !text;
    if (this.note.textContent !== text) this.note.textContent = text;
  }

  private fillTable(): void {
    this.table.hidden = !this.choice.table;
    if (this.table.hidden) return;
    const { __ } = this.extras.words;
    const line = (tag: 'th' | 'td', cells: string[]): HTMLTableRowElement => {
      const row = element('tr');
      row.append(...cells.map(cell => element(tag, cell)));
      return row;
    };
    const head = [__('metric'), __('series'), __('least'), __('greatest'), __('last')];
    this.table.replaceChildren(line('th', head), ...this.views.flatMap(v => v.rows()).map(cells => line('td', cells)));
  }

  /** One panel, or all of them, as a file. */
  save(file: string, name?: string): void {
    this.pacer.flush();
    queueMicrotask(() => {
      // uPlot draws in one
      const chosen = this.views.filter(v => name === undefined || v.name === name);
      const ground = getComputedStyle(this.root).getPropertyValue('--jp-layout-color0').trim() || 'Canvas';
      drawPicture(chosen, this.size().columns, readColors(this.root), ground)?.toBlob(blob => {
        const url = URL.createObjectURL(blob!);
        download(url, file);
        setTimeout(() => URL.revokeObjectURL(url), 10_000);
      });
    });
  }

  /** The plot was put into the page, maybe elsewhere than before. */
  moved(): void {
    this.wake();
    this.draw();
  }

  destroy(): void {
    clearInterval(this.timer);
    clearTimeout(this.settling);
    this.pacer.clear();
    this.undo.forEach(f => f());
    this.views.forEach(v => v.destroy());
    this.root.remove();
  }
}

function same(a: Range, b: Range | null): boolean {
  return !!b && a[0] === b[0] && a[1] === b[1];
}
