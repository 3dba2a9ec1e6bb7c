/** The search box of a log: how many lines have a text, and the way from one to the next. */
import type { TranslationBundle } from '@jupyterlab/translation';

const SETTLE = 250; // milliseconds after the last key

export interface Searched {
  find(text: string): Promise<{ matches: { begin: number }[]; more: boolean }>;
  show(byte: number): void;
  mark(text: string): void;
}

export class LogSearch {
  readonly node = document.createElement('span');
  private readonly box = document.createElement('input');
  private readonly state = document.createElement('span');
  private matches: number[] = [];
  private more = false;
  private at = -1;
  private asked = ''; // what the matches are of
  private timer: ReturnType<typeof setTimeout> | undefined;
  private number = 0;

  constructor(
    private readonly trans: TranslationBundle,
    private readonly log: Searched
  ) {
    this.node.className = 'jp-lb-Log-search';
    Object.assign(this.box, {
      type: 'search',
      placeholder: trans.__('search'),
      title: trans.__('Enter: next, Shift+Enter: the one before')
    });
    this.box.setAttribute('aria-label', trans.__('search the log'));
    this.state.setAttribute('role', 'status');
    this.box.oninput = () => {
      clearTimeout(this.timer);
      this.log.mark(this.box.value);
      this.timer = setTimeout(() => void this.search(), SETTLE);
    };
    this.box.onkeydown = event => {
      if (event.key !== 'Enter') return;
      event.preventDefault();
      void this.step(event.shiftKey ? -1 : 1);
    };
    const button = (text: string, meaning: string, by: number): HTMLButtonElement => {
      const made = document.createElement('button');
      Object.assign(made, { type: 'button', textContent: text, title: meaning, onclick: () => void this.step(by) });
      made.setAttribute('aria-label', meaning);
      return made;
    };
    this.node.append(
      this.box,
      button('↑', trans.__('the match before'), -1),
      button('↓', trans.__('the next match'), 1),
      this.state
    );
  }

  focus(): void {
    this.box.focus();
    this.box.select();
  }

  /** Another log is searched for the same. */
  again(): void {
    this.asked = '';
    if (this.box.value) void this.search();
  }

  private async search(): Promise<void> {
    clearTimeout(this.timer);
    const text = this.box.value,
      number = ++this.number;
    [this.matches, this.more, this.at, this.asked] = [[], false, -1, text];
    this.state.textContent = '';
    if (!text) return;
    try {
      const { matches, more } = await this.log.find(text);
      if (number !== this.number) return;
      [this.matches, this.more] = [matches.map(m => m.begin), more];
      this.log.mark(text);
      this.tell();
    } catch (error) {
      if (number === this.number) this.state.textContent = (error as Error).message;
    }
  }

  /** To the next match, or the one before. */
  private async step(by: number): Promise<void> {
    if (this.asked !== this.box.value || !this.matches.length) await this.search();
    const from = this.at;
    if (from >= 0 && (from + by < 0 || from + by >= this.matches.length)) await this.search(); // what was written since
    if (from >= 0) this.at = from;
    const count = this.matches.length;
    if (!count) return this.tell();
    this.at = this.at < 0 ? (by > 0 ? 0 : count - 1) : (this.at + by + count) % count;
    this.log.show(this.matches[this.at]);
    this.tell();
  }

  private tell(): void {
    const count = this.matches.length,
      { trans } = this;
    const all = this.more
      ? trans._n('the first line', 'the first %1 lines', count)
      : trans._n('%1 line', '%1 lines', count);
    this.state.textContent = !this.asked
      ? ''
      : !count
        ? trans.__('nothing found')
        : this.at < 0
          ? all
          : trans.__('%1 of %2', this.at + 1, all);
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.number++;
  }
}
