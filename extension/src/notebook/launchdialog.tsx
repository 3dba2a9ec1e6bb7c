/** The launch dialog: JupyterLab's own, which closes only with a cell that is right. */
import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import { Panel } from '@lumino/widgets';
import { SteadyDialog } from '../dialog';
import { LaunchBody } from './launchbody';
import type { LaunchModel } from './launchmodel';

const LAUNCH = 1; // the index of the button

export class LaunchDialog extends SteadyDialog<string> {
  private code: string | null = null;

  constructor(
    private readonly model: LaunchModel,
    trans: TranslationBundle
  ) {
    // a panel around the form: JupyterLab would move its selects behind React's back
    const body = new Panel();
    body.addClass('jp-lb-nb-launch');
    body.addWidget(ReactWidget.create(<LaunchBody model={model} trans={trans} />));
    super({
      title: trans.__('Launch a Function'),
      body,
      buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.okButton({ label: trans.__('Launch') })],
      defaultButton: LAUNCH
    });
    this.addClass('jp-lb-nb-LaunchDialog');
    this.node.setAttribute('aria-label', trans.__('Launch a Function'));
    model.changed.connect(this.enable, this);
    this.enable();
  }

  /** Escape has to reach the dialog also while Launch cannot be pressed. */
  protected onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    if (!this.node.contains(document.activeElement))
      this.node.querySelector<HTMLElement>('.jp-Dialog-footer .jp-mod-reject')?.focus();
  }

  private get launchButton(): HTMLButtonElement | null {
    return this.node.querySelector<HTMLButtonElement>('.jp-Dialog-footer .jp-mod-accept');
  }

  private enable(): void {
    const button = this.launchButton;
    if (button) button.disabled = this.model.phase !== 'ready';
  }

  /** Called by a click, by Enter, by a second click. */
  resolve(index?: number): void {
    if (index !== undefined && index !== LAUNCH) return super.resolve(index);
    void this.submit();
  }

  private async submit(): Promise<void> {
    const code = await this.model.submit();
    if (code === null) {
      this.node.querySelector<HTMLElement>('[aria-invalid=true]')?.focus();
      return;
    }
    this.code = code;
    super.resolve(LAUNCH);
  }

  /** The cell; null: it was given up. */
  async ask(): Promise<string | null> {
    void this.model.look();
    const { button } = await this.launch();
    return button.accept ? this.code : null;
  }

  dispose(): void {
    this.model.changed.disconnect(this.enable, this);
    super.dispose();
  }
}
