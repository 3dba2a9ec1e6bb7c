/** The logs of a run, one rank at a time: the end first, earlier parts when somebody scrolls there. */
import { Clipboard } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';
import type { IBench, LogChunk } from '../tokens';
import { plain } from './logtext';
import { LogSearch } from './logsearch';
import { LogView } from './logview';
import { bytesText } from './texts';

const PART = 400_000; // bytes asked for at once
const NEAR = 100_000; // bytes before the end from which the server's own last part reaches

export class LogsPage extends Widget {
  readonly view: LogView;
  private readonly bar = document.createElement('div');
  private readonly ranks = document.createElement('select');
  private readonly state = document.createElement('span');
  private readonly jump: HTMLButtonElement;
  private readonly empty = document.createElement('p');
  private readonly search: LogSearch;
  private subscription: { dispose(): void } | null = null;
  private rank = 0;
  private count = 0;
  private over = false;
  private gone = false; // the run has been deleted
  private loading = false;
  private joining = false; // the next part may go on where the window ends
  private generation = 0; // an answer about another rank or place is not taken

  constructor(
    private readonly bench: IBench,
    private readonly run: string,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-lb-Logs');
    this.view = new LogView(near => this.near(near));
    this.search = new LogSearch(this.trans, {
      find: text => this.find(text),
      show: byte => void this.showByte(byte),
      mark: text => this.view.mark(text)
    });
    this.jump = this.button(trans.__('Jump to end'), trans.__('follow what is written (End)'), () => this.toEnd());
    this.jump.className = 'jp-lb-Log-jump';
    this.build();
  }

  private build(): void {
    const { trans } = this;
    this.bar.className = 'jp-lb-Log-bar';
    this.bar.setAttribute('role', 'toolbar');
    this.bar.setAttribute('aria-label', trans.__('log'));
    this.ranks.title = trans.__('rank ([ and ] in the log)');
    this.ranks.setAttribute('aria-label', trans.__('rank'));
    this.ranks.onchange = () => this.open(Number(this.ranks.value));
    this.state.className = 'jp-lb-Log-state';
    this.bar.append(
      this.ranks,
      this.search.node,
      this.state,
      this.button(trans.__('Copy'), trans.__('copy what is selected, or all lines that are loaded'), () => this.copy())
    );
    this.empty.className = 'jp-lb-empty';
    const body = document.createElement('div');
    body.className = 'jp-lb-Log-body';
    body.append(this.view.node, this.empty, this.jump);
    this.node.append(this.bar, body);
    this.node.addEventListener('keydown', event => this.press(event));
    this.tell();
  }

  private button(text: string, meaning: string, done: () => void): HTMLButtonElement {
    const button = document.createElement('button');
    Object.assign(button, { type: 'button', textContent: text, title: meaning, onclick: done });
    return button;
  }

  private press(event: KeyboardEvent): void {
    if ((event.ctrlKey || event.metaKey) && event.key === 'f') {
      this.search.focus();
      event.preventDefault();
      event.stopPropagation();
    } else if (event.target === this.view.node && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const step = { '[': -1, ']': 1 }[event.key];
      if (step) this.open((this.rank + step + this.count) % this.count);
      else if (event.key === '/') this.search.focus();
      else if (event.key === 'End') this.toEnd();
      else return;
      event.preventDefault();
    }
  }

  /** How many ranks there are, and whether they will write no more. */
  setRanks(count: number, over: boolean): void {
    if (count === this.count && over === this.over) return;
    [this.count, this.over] = [count, over];
    this.ranks.replaceChildren(
      ...Array.from({ length: count }, (_, rank) => new Option(this.trans.__('rank %1', rank), String(rank)))
    );
    this.ranks.value = String(this.rank);
    this.tell();
  }

  /** Its logs are deleted, or there again. */
  setGone(gone: boolean): void {
    if (gone === this.gone) return;
    this.gone = gone;
    this.tell();
  }

  private open(rank: number): void {
    this.rank = rank;
    this.ranks.value = String(rank);
    this.listen();
    this.search.again();
  }

  /** From the last part on; `joining` keeps what is loaded. */
  private listen(joining = false): void {
    this.subscription?.dispose();
    this.generation++;
    this.loading = false;
    this.joining = joining;
    const generation = this.generation;
    if (!joining) {
      this.view.buffer.reset({ begin: 0, end: 0, text: '' }, true);
      this.view.buffer.size = 0;
      this.view.follow();
      this.view.changed();
    }
    this.view.node.setAttribute('aria-label', this.trans.__('log of rank %1', this.rank));
    this.subscription = this.bench.log(
      this.run,
      this.rank,
      chunk => generation === this.generation && this.take(chunk)
    );
    this.tell();
  }

  private take(chunk: LogChunk): void {
    const { buffer } = this.view;
    let above = 0;
    if (chunk.full && this.joining) buffer.join(chunk);
    else if (chunk.full && (buffer.atEnd || chunk.end < buffer.end)) buffer.reset(chunk, true);
    else above = -buffer.append(chunk, this.view.following);
    this.joining = false;
    this.view.changed(above);
    this.tell();
  }

  private near({ top, bottom }: { top: boolean; bottom: boolean }): void {
    const { buffer } = this.view;
    if (top && buffer.begin > 0)
      void this.load(Math.max(0, buffer.begin - PART), buffer.begin, part => this.view.changed(buffer.prepend(part)));
    else if (bottom && !buffer.atEnd) void this.load(buffer.end, buffer.end + PART, part => this.later(part));
    this.tell();
  }

  private later(part: { begin: number; end: number; size: number; text: string }): void {
    const above = -this.view.buffer.extend(part, part.size);
    this.view.changed(above);
    if (this.view.buffer.end >= part.size - NEAR) this.listen(true); // from here on it is told
  }

  private async load(
    begin: number,
    end: number,
    use: (part: { begin: number; end: number; size: number; text: string }) => void
  ): Promise<void> {
    if (this.loading || end <= begin) return;
    this.loading = true;
    const generation = this.generation;
    try {
      const part = await this.bench.logPart(this.run, this.rank, begin, end);
      if (generation === this.generation) use(part);
    } catch (error) {
      this.state.textContent = (error as Error).message;
    } finally {
      if (generation === this.generation) this.loading = false;
      this.view.draw();
    }
  }

  private async find(text: string): Promise<{ matches: { begin: number }[]; more: boolean }> {
    return this.bench.searchLog(this.run, this.rank, text);
  }

  /** Bring the line at a byte to sight, wherever it is. */
  private async showByte(byte: number): Promise<void> {
    const { buffer } = this.view;
    if (!buffer.has(byte)) {
      this.generation++;
      this.loading = false;
      const generation = this.generation;
      let part: Awaited<ReturnType<IBench['logPart']>>;
      try {
        part = await this.bench.logPart(this.run, this.rank, Math.max(0, byte - PART / 2), byte + PART / 2);
      } catch (error) {
        this.state.textContent = (error as Error).message;
        return;
      }
      if (generation !== this.generation) return;
      this.subscription?.dispose();
      this.subscription = null;
      buffer.reset(part, false);
      buffer.size = part.size;
      this.view.changed();
    }
    this.view.show(buffer.lineAt(byte));
    this.tell();
  }

  private toEnd(): void {
    if (this.view.buffer.atEnd && this.subscription) this.view.follow();
    else this.listen();
    this.tell();
  }

  private copy(): void {
    const selected = window.getSelection();
    const text =
      selected && !selected.isCollapsed && this.view.node.contains(selected.anchorNode)
        ? selected.toString()
        : plain(this.view.buffer.text());
    Clipboard.copyToSystem(text);
    this.state.textContent = this.trans.__('copied');
  }

  private tell(): void {
    const { buffer, following } = this.view,
      { trans } = this;
    const part =
      buffer.begin > 0 || !buffer.atEnd
        ? trans.__(
            '%1 to %2 of %3',
            bytesText(buffer.begin),
            bytesText(buffer.end),
            bytesText(Math.max(buffer.size, buffer.end))
          )
        : bytesText(buffer.end);
    this.state.textContent = buffer.length ? part : '';
    this.jump.hidden = following;
    this.empty.hidden = buffer.length > 0;
    this.empty.textContent = this.gone
      ? trans.__('Its logs have been deleted.')
      : !this.count
        ? trans.__('No rank has been started yet.')
        : this.over
          ? trans.__('Rank %1 has written nothing.', this.rank)
          : trans.__('Rank %1 has written nothing yet. What the launched function prints appears here.', this.rank);
    this.ranks.hidden = this.count < 2;
  }

  /** Put into the page while it is the page in front: nobody says that it is shown. */
  protected onAfterAttach(message: Message): void {
    if (this.isVisible) this.onAfterShow(message);
  }

  protected onAfterShow(_: Message): void {
    if (!this.subscription && this.view.buffer.atEnd) this.listen();
    this.view.changed();
  }

  protected onResize(): void {
    this.view.changed();
  }

  dispose(): void {
    if (this.isDisposed) return;
    this.subscription?.dispose();
    this.search.dispose();
    this.view.dispose();
    super.dispose();
  }
}
