/** Another attempt of a run: where it is to go on. The dialog closes only when the server has agreed. */
import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect, UseSignal } from '@jupyterlab/ui-components';
import { Signal } from '@lumino/signaling';
import { Panel } from '@lumino/widgets';
import { SteadyDialog } from '../dialog';
import { checkWhole } from '../shared/python';
import { Row, TextRow } from '../shared/form';
import type { AllocationRow, ResumePlace, RunFacts } from '../tokens';

type Resume<T> = (place: ResumePlace) => Promise<T>;
const START = 1; // the index of the button

/** What is filled in. */
class Choice<T> {
  allocation = ''; // empty: new devices
  sending = false;
  refused = ''; // in the server's words
  answer: T | null = null;
  readonly changed = new Signal<this, void>(this);

  constructor(
    public count: string,
    private readonly most: number,
    private readonly resume: Resume<T>,
    private readonly trans: TranslationBundle
  ) {}

  set(name: 'allocation' | 'count', value: string): void {
    this[name] = value;
    this.refused = '';
    this.changed.emit();
  }

  /** Whether the server has agreed. */
  async submit(): Promise<boolean> {
    if (this.problem || this.sending) return false;
    this.sending = true;
    this.refused = '';
    this.changed.emit();
    try {
      this.answer = await this.resume(this.place);
    } catch (error) {
      this.refused = (error as Error).message;
    }
    this.sending = false;
    this.changed.emit();
    return !this.refused;
  }

  get problem(): string {
    return this.allocation ? '' : checkWhole(this.count, 1, this.trans, this.most || Infinity);
  }

  get place(): ResumePlace {
    return this.allocation ? { allocation: this.allocation } : { count: Number(this.count) };
  }
}

function Form<T>({
  choice,
  idle,
  trans
}: {
  choice: Choice<T>;
  idle: AllocationRow[];
  trans: TranslationBundle;
}): JSX.Element {
  const help = trans.__('They are given back when the run has ended.');
  return (
    <div className="jp-lb-nb-form">
      <Row id="jp-lb-resume-where" label={trans.__('Where')}>
        <HTMLSelect
          id="jp-lb-resume-where"
          value={choice.allocation}
          onChange={event => choice.set('allocation', event.target.value)}
        >
          <option value="">{trans.__('on new devices')}</option>
          {idle.map(a => (
            <option key={a.name} value={a.name}>
              {trans._n('in %2 (%1 device)', 'in %2 (%1 devices)', a.count, a.name)}
            </option>
          ))}
        </HTMLSelect>
      </Row>
      {!choice.allocation && (
        <TextRow
          id="jp-lb-resume-count"
          label={trans.__('Devices')}
          help={help}
          problem={choice.problem}
          required
          value={choice.count}
          set={value => choice.set('count', value)}
          numeric
        />
      )}
      <div role="alert">{choice.refused && <div className="jp-lb-nb-refused">{choice.refused}</div>}</div>
    </div>
  );
}

class ResumeDialog<T> extends SteadyDialog<void> {
  constructor(
    private readonly choice: Choice<T>,
    name: string,
    idle: AllocationRow[],
    private readonly trans: TranslationBundle
  ) {
    const body = new Panel(); // JupyterLab would move the selects behind React's back
    body.addClass('jp-lb-nb-take');
    body.addWidget(
      ReactWidget.create(
        <UseSignal signal={choice.changed}>{() => <Form choice={choice} idle={idle} trans={trans} />}</UseSignal>
      )
    );
    super({
      title: trans.__('Resume %1', name),
      body,
      buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.okButton({ label: trans.__('Resume') })]
    });
    this.addClass('jp-lb-nb-TakeDialog');
    this.node.setAttribute('aria-label', trans.__('Resume %1', name));
    choice.changed.connect(this.enable, this);
  }

  private enable(): void {
    const button = this.node.querySelector<HTMLButtonElement>('.jp-Dialog-footer .jp-mod-accept')!;
    button.disabled = this.choice.sending;
    button.querySelector('.jp-Dialog-buttonLabel')!.textContent = this.choice.sending
      ? this.trans.__('Asking…')
      : this.trans.__('Resume');
  }

  resolve(index?: number): void {
    if (index !== undefined && index !== START) super.resolve(index);
    else void this.submit();
  }

  private async submit(): Promise<void> {
    if (await this.choice.submit()) super.resolve(START);
    else this.node.querySelector<HTMLElement>('[aria-invalid=true]')?.focus();
  }
}

/** What the server has answered; null: given up. */
export async function askPlace<T>(
  run: Pick<RunFacts, 'name' | 'id' | 'world_size'>,
  allocations: AllocationRow[],
  devices: number,
  resume: Resume<T>,
  trans: TranslationBundle
): Promise<T | null> {
  const choice = new Choice(String(run.world_size), devices, resume, trans);
  try {
    await new ResumeDialog(
      choice,
      run.name || run.id,
      allocations.filter(a => a.state === 'idle'),
      trans
    ).launch();
    return choice.answer;
  } finally {
    Signal.clearData(choice);
  }
}
