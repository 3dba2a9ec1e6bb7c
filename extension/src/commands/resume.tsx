/** Another attempt of a run: where it is to go on. */
import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect, UseSignal } from '@jupyterlab/ui-components';
import { Signal } from '@lumino/signaling';
import { Panel } from '@lumino/widgets';
import { SteadyDialog } from '../dialog';
import { checkWhole } from '../notebook/code';
import { Row, Text } from '../notebook/form';
import type { AllocationRow, ResumePlace, RunFacts } from '../tokens';

/** Whether there is anything to go on with. */
export function isResumable({ status, kind, allocation }: Pick<RunFacts, 'status' | 'kind' | 'allocation'>): boolean {
  return ['failed', 'stopped', 'lost'].includes(status) && (kind !== 'notebook' || !!allocation);
}

/** What is filled in. */
class Choice {
  allocation = ''; // empty: new devices
  readonly changed = new Signal<this, void>(this);

  constructor(public count: string, private readonly most: number, private readonly trans: TranslationBundle) {}

  set(name: 'allocation' | 'count', value: string): void {
    this[name] = value;
    this.changed.emit();
  }

  get problem(): string {
    return this.allocation ? '' : checkWhole(this.count, 1, this.trans, this.most || Infinity);
  }

  get place(): ResumePlace {
    return this.allocation ? { allocation: this.allocation } : { count: Number(this.count) };
  }
}

function Form({ choice, idle, trans }: { choice: Choice; idle: AllocationRow[]; trans: TranslationBundle }): JSX.Element {
  const help = trans.__('They are given back when the run has ended.');
  return (
    <div className="jp-lb-nb-form">
      <Row id="jp-lb-resume-where" label={trans.__('Where')}>
        <HTMLSelect id="jp-lb-resume-where" value={choice.allocation} onChange={event => choice.set('allocation', event.target.value)}>
          <option value="">{trans.__('on new devices')}</option>
          {idle.map(a => <option key={a.name} value={a.name}>{trans._n('in %2 (%1 device)', 'in %2 (%1 devices)', a.count, a.name)}</option>)}
        </HTMLSelect>
      </Row>
      {!choice.allocation && (
        <Row id="jp-lb-resume-count" label={trans.__('Devices')} help={help} problem={choice.problem} required>
          <Text id="jp-lb-resume-count" value={choice.count} set={value => choice.set('count', value)} help={help} problem={choice.problem} numeric required />
        </Row>
      )}
    </div>
  );
}

class ResumeDialog extends SteadyDialog<void> {
  constructor(private readonly choice: Choice, name: string, idle: AllocationRow[], trans: TranslationBundle) {
    const body = new Panel(); // JupyterLab would move the selects behind React's back
    body.addClass('jp-lb-nb-take');
    body.addWidget(ReactWidget.create(<UseSignal signal={choice.changed}>{() => <Form choice={choice} idle={idle} trans={trans} />}</UseSignal>));
    super({ title: trans.__('Resume %1', name), body, buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.okButton({ label: trans.__('Resume') })] });
    this.addClass('jp-lb-nb-TakeDialog');
    this.node.setAttribute('aria-label', trans.__('Resume %1', name));
  }

  resolve(index?: number): void {
    if ((index === undefined || index === 1) && this.choice.problem) this.node.querySelector<HTMLElement>('[aria-invalid=true]')?.focus();
    else super.resolve(index);
  }
}

/** Null: given up. */
export async function askPlace(run: Pick<RunFacts, 'name' | 'id' | 'world_size'>, allocations: AllocationRow[], devices: number, trans: TranslationBundle): Promise<ResumePlace | null> {
  const choice = new Choice(String(run.world_size), devices, trans);
  try {
    const { button } = await new ResumeDialog(choice, run.name || run.id, allocations.filter(a => a.state === 'idle'), trans).launch();
    return button.accept ? choice.place : null;
  } finally {
    Signal.clearData(choice);
  }
}
