/** How many devices, and which: a small dialog. */
import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import { HTMLSelect, UseSignal } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import { Signal } from '@lumino/signaling';
import { Panel } from '@lumino/widgets';
import { SteadyDialog } from '../dialog';
import type { AllocateOptions, DeviceRow, IBench, ITable } from '../tokens';
import { asSeconds, checkMemory, checkSeconds, checkWhole } from '../shared/python';
import { Row, TextRow, timeLimitHelp } from '../shared/form';

/** What has been filled in. */
class Wish {
  count = '1';
  kind = '';
  memory = '';
  time = '';
  readonly changed = new Signal<this, void>(this);

  constructor(
    readonly devices: ITable<DeviceRow>,
    private readonly trans: TranslationBundle
  ) {
    devices.changed.connect(this.emit, this);
  }

  emit(): void {
    this.changed.emit();
  }

  set(name: 'count' | 'kind' | 'memory' | 'time', value: string): void {
    this[name] = value;
    this.emit();
  }

  get rows(): DeviceRow[] {
    return [...this.devices.rows.values()].filter(row => !this.kind || row.kind === this.kind);
  }

  get kinds(): string[] {
    return [...new Set([...this.devices.rows.values()].map(row => row.kind))];
  }

  get problems(): { count: string; memory: string; time: string } {
    return {
      count: checkWhole(this.count, 1, this.trans, this.rows.length || Infinity),
      memory: checkMemory(this.memory, this.trans),
      time: checkSeconds(this.time, this.trans)
    };
  }

  get free(): string {
    const { rows, trans } = this;
    const free = rows.filter(row => row.state === 'free').length;
    if (!rows.length) return '';
    const few =
      Number(this.count) > free ? ` ${trans.__('You wait your turn; what is ahead is said in the toolbar.')}` : '';
    return trans.__('%1 of %2 are free.', free, rows.length) + few;
  }

  dispose(): void {
    this.devices.changed.disconnect(this.emit, this);
    this.devices.dispose();
    Signal.clearData(this);
  }
}

function Form({ wish, trans }: { wish: Wish; trans: TranslationBundle }): JSX.Element {
  const { problems, free } = wish;
  const memory = trans.__('Free memory that each must have, such as 20GB. Empty: any.');
  const time = timeLimitHelp(trans);
  return (
    <div className="jp-lb-nb-form">
      <TextRow
        id="jp-lb-nb-take-count"
        label={trans.__('Devices')}
        help={free}
        problem={problems.count}
        required
        value={wish.count}
        set={v => wish.set('count', v)}
        numeric
      />
      <Row id="jp-lb-nb-take-kind" label={trans.__('Kind')}>
        <HTMLSelect id="jp-lb-nb-take-kind" value={wish.kind} onChange={event => wish.set('kind', event.target.value)}>
          <option value="">{trans.__('any')}</option>
          {wish.kinds.map(kind => (
            <option key={kind} value={kind}>
              {kind}
            </option>
          ))}
        </HTMLSelect>
      </Row>
      <TextRow
        id="jp-lb-nb-take-memory"
        label={trans.__('Memory')}
        help={memory}
        problem={problems.memory}
        value={wish.memory}
        set={v => wish.set('memory', v)}
      />
      <TextRow
        id="jp-lb-nb-take-time"
        label={trans.__('Time limit')}
        help={time}
        problem={problems.time}
        value={wish.time}
        set={v => wish.set('time', v)}
        numeric
      />
    </div>
  );
}

class TakeDialog extends SteadyDialog<void> {
  private done = false;

  constructor(
    private readonly wish: Wish,
    trans: TranslationBundle
  ) {
    const body = new Panel(); // JupyterLab would move the selects behind React's back
    body.addClass('jp-lb-nb-take');
    body.addWidget(
      ReactWidget.create(<UseSignal signal={wish.changed}>{() => <Form wish={wish} trans={trans} />}</UseSignal>)
    );
    super({
      title: trans.__('Take Devices for This Notebook'),
      body,
      buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.okButton({ label: trans.__('Take') })]
    });
    this.addClass('jp-lb-nb-TakeDialog');
    this.node.setAttribute('aria-label', trans.__('Take Devices for This Notebook'));
  }

  protected onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    requestAnimationFrame(() => this.node.querySelector<HTMLInputElement>('#jp-lb-nb-take-count')?.select());
  }

  resolve(index?: number): void {
    const accepted = index === undefined || index === 1;
    if (accepted && (this.done || Object.values(this.wish.problems).some(Boolean))) {
      this.node.querySelector<HTMLElement>('[aria-invalid=true]')?.focus();
      return;
    }
    this.done ||= accepted;
    super.resolve(index);
  }
}

/** Null: given up. */
export async function askWish(bench: IBench, trans: TranslationBundle): Promise<AllocateOptions | null> {
  const wish = new Wish(bench.devices(), trans);
  try {
    const { button } = await new TakeDialog(wish, trans).launch();
    if (!button.accept) return null;
    return {
      count: Number(wish.count),
      ...(wish.kind ? { kind: wish.kind } : {}),
      ...(wish.memory.trim() ? { memory: wish.memory.trim() } : {}),
      ...(wish.time.trim() ? { time: asSeconds(wish.time) } : {})
    };
  } finally {
    wish.dispose();
  }
}
