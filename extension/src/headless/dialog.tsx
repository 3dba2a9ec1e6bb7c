/** The headless dialog: JupyterLab's own, which closes only when the server has begun. */
import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import { Panel } from '@lumino/widgets';
import { SteadyDialog } from '../dialog';
import { HeadlessBody } from './body';
import type { HeadlessModel } from './model';

const START = 1; // the index of the button

export class HeadlessDialog extends SteadyDialog<string> {
  private run: string | null = null;

  constructor(
    private readonly model: HeadlessModel,
    private readonly trans: TranslationBundle
  ) {
    // a panel around the form: JupyterLab would move its selects behind React's back
    const body = new Panel();
    body.addClass('jp-lb-nb-launch');
    body.addWidget(ReactWidget.create(<HeadlessBody model={model} trans={trans} />));
    super({
      title: trans.__('Run Headless: %1', model.path.split('/').pop() ?? ''),
      body,
      buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.okButton({ label: trans.__('Start') })],
      defaultButton: START
    });
    this.addClass('jp-lb-nb-LaunchDialog');
    this.addClass('jp-lb-hl-HeadlessDialog');
    this.node.setAttribute('aria-label', trans.__('Run Headless'));
    model.changed.connect(this.enable, this);
    this.enable();
  }

  /** Escape has to reach the dialog also while Start cannot be pressed. */
  protected onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    if (!this.node.contains(document.activeElement))
      this.node.querySelector<HTMLElement>('.jp-Dialog-footer .jp-mod-reject')?.focus();
  }

  private enable(): void {
    const button = this.node.querySelector<HTMLButtonElement>('.jp-Dialog-footer .jp-mod-accept');
    if (!button) return;
    button.disabled = this.model.phase !== 'ready' || this.model.sending;
    const label = button.querySelector('.jp-Dialog-buttonLabel');
    if (label) label.textContent = this.model.sending ? this.trans.__('Starting…') : this.trans.__('Start');
  }

  /** Called by a click, by Enter, by a second click. */
  resolve(index?: number): void {
    if (index !== undefined && index !== START) return super.resolve(index);
    void this.submit();
  }

  private async submit(): Promise<void> {
    const run = await this.model.submit();
    if (run === null) {
      const wrong = this.node.querySelector<HTMLElement>('[aria-invalid=true]');
      wrong?.focus();
      if (!wrong) this.node.querySelector('.jp-lb-hl-refused')?.scrollIntoView({ block: 'nearest' });
      return;
    }
    this.run = run;
    super.resolve(START);
  }

  /** The sweep's run; null: it was given up. */
  async ask(): Promise<string | null> {
    void this.model.look();
    const { button } = await this.launch();
    return button.accept ? this.run : null;
  }

  dispose(): void {
    this.model.changed.disconnect(this.enable, this);
    super.dispose();
  }
}
