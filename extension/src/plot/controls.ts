/** The small bar above the curves. Native controls: they have names, take the keyboard and look like their page. */
import type { Options } from './messages';
import { element } from './panel';
import type { Words } from './words';

export interface Choice extends Options {
  filter: string;
  table: boolean;
}

export class Controls {
  readonly root = element('div');
  private readonly state = element('span');
  private readonly filter: HTMLInputElement;
  private readonly ranks: HTMLButtonElement;
  private readonly all = element('button');

  constructor(
    readonly choice: Choice,
    title: string,
    words: Words,
    changed: (asks: boolean) => void,
    reset: () => void
  ) {
    const { __ } = words;
    this.root.className = 'lb-bar';
    this.root.setAttribute('role', 'toolbar');
    this.root.setAttribute('aria-label', __('plot'));
    this.state.setAttribute('role', 'status');
    this.state.className = 'lb-state';
    const time = toggle(
      __('time'),
      __('time instead of steps'),
      choice.x === 'time',
      on => (reset(), (choice.x = on ? 'time' : 'step'), changed(true))
    );
    const log = toggle(__('log'), __('logarithmic values'), choice.log, on => ((choice.log = on), changed(false)));
    this.ranks = toggle(
      __('ranks'),
      __('a line for each rank instead of a band'),
      choice.ranks === 'lines',
      on => ((choice.ranks = on ? 'lines' : 'band'), changed(true))
    );
    const table = toggle(
      __('table'),
      __('the numbers as a table'),
      choice.table,
      on => ((choice.table = on), changed(false))
    );
    const smooth = input('range', __('smoothing'));
    Object.assign(smooth, { min: '0', max: '99', step: '1' });
    smooth.value = String(Math.round(100 * choice.smooth));
    smooth.oninput = () => {
      choice.smooth = Number(smooth.value) / 100;
      smooth.title = __('smoothing: %1', choice.smooth);
      changed(true);
    };
    const label = element('label', __('smooth'));
    label.append(smooth);
    this.filter = input('search', __('filter metrics'));
    this.filter.placeholder = __('filter');
    this.filter.hidden = true;
    this.filter.oninput = () => ((choice.filter = this.filter.value), changed(true));
    Object.assign(this.all, {
      type: 'button',
      textContent: __('show all'),
      title: __('end the zoom (double click)'),
      hidden: true,
      onclick: reset
    });
    const name = element('span', title);
    name.className = 'lb-title';
    name.hidden = !title;
    this.root.append(
      name,
      this.state,
      this.filter,
      this.all,
      time,
      log,
      ...(typeof choice.ranks === 'number' ? [] : [this.ranks]),
      table,
      label
    );
    this.root.addEventListener('keydown', event => {
      // typing here is no command to the notebook; Ctrl+S is
      if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
    });
  }

  say(text: string, live: boolean): void {
    if (this.state.textContent !== text) this.state.textContent = text;
    this.state.classList.toggle('lb-live', live);
  }

  /**
   * A filter is worth its place where there are many metrics, the choice of ranks where there are several, the way
   * back where there is a zoom.
   */
  fit(names: number, several: boolean, zoomed: boolean): void {
    this.filter.hidden = names < 7;
    this.ranks.hidden = !several;
    this.all.hidden = !zoomed;
  }
}

function toggle(text: string, meaning: string, on: boolean, changed: (on: boolean) => void): HTMLButtonElement {
  const button = element('button', text);
  button.type = 'button';
  button.title = meaning;
  button.setAttribute('aria-label', meaning);
  button.setAttribute('aria-pressed', String(on));
  button.onclick = () => {
    on = !on;
    button.setAttribute('aria-pressed', String(on));
    changed(on);
  };
  return button;
}

function input(type: string, meaning: string): HTMLInputElement {
  const made = element('input');
  made.type = type;
  made.setAttribute('aria-label', meaning);
  made.title = meaning;
  return made;
}
