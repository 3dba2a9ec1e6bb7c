/** A notebook that was opened while its kernel went on: its displays are brought up to date, and stay so. */
import type { CodeCell } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import { marksIn, updateDisplay, type Mark, type Outputs } from './outputs';

const ASK = 'lepton_bench_unknown';

/** Brings the displays of one notebook up to date; `ended` has those whose kernel is gone. */
export class Displays {
  private known = new Map<string, Mark>();
  private kernel: Kernel.IKernelConnection | null = null;
  private fresh = false;

  constructor(
    private readonly panel: NotebookPanel,
    private readonly ended: (mark: Mark) => void
  ) {
    panel.disposed.connect(() => this.leave());
    panel.sessionContext.kernelChanged.connect((_, change) => this.follow(change.newValue));
    panel.sessionContext.statusChanged.connect((_, status) => this.restarted(status));
    void Promise.all([panel.revealed, panel.sessionContext.ready]).then(() =>
      this.follow(panel.sessionContext.session?.kernel ?? null)
    );
  }

  private *areas(): Generator<Outputs> {
    for (const cell of this.panel.content.widgets)
      if (cell.model.type === 'code') yield (cell as CodeCell).model.outputs as unknown as Outputs;
  }

  /** A kernel that was started again knows nothing of what it displayed before. */
  private restarted(status: Kernel.Status): void {
    if (status === 'restarting' || status === 'autorestarting') this.fresh = true;
    else if (status === 'idle' && this.fresh) {
      this.fresh = false;
      this.follow(this.panel.sessionContext.session?.kernel ?? null);
    } else if (status === 'dead') for (const mark of marksIn(this.areas())) if (mark.run) this.ended(mark);
  }

  /** What stands in the notebook now was made before this page knew of it. */
  private follow(kernel: Kernel.IKernelConnection | null): void {
    this.leave();
    if (!kernel || this.panel.isDisposed) return;
    this.known = new Map(marksIn(this.areas()).map(mark => [mark.display, mark]));
    if (!this.known.size) return;
    this.kernel = kernel;
    kernel.iopubMessage.connect(this.take, this);
    void this.ask(kernel);
  }

  private leave(): void {
    this.kernel?.iopubMessage.disconnect(this.take, this);
    this.kernel = null;
  }

  /** Have the kernel say again what its displays show; one that has no lepton_bench imported has none. */
  private async ask(kernel: Kernel.IKernelConnection): Promise<void> {
    const ids = JSON.stringify([...this.known.keys()]);
    // The second name is what the module was called before the modules moved (nbs/core/80_moved): the kernel may be older than the page.
    const module = ['lepton_bench.display.persistent', 'lepton_bench.displays']
      .map(name => `__import__("sys").modules.get("${name}")`)
      .join(' or ');
    const expression = `(lambda module: module.show_again(${ids}) if module else ${ids})(${module})`;
    const future = kernel.requestExecute({
      code: '',
      silent: true,
      store_history: false,
      user_expressions: { [ASK]: expression }
    });
    const reply = (await future.done).content as KernelMessage.IExecuteReplyMsg['content'];
    if (kernel !== this.kernel || reply.status !== 'ok') return;
    const found = reply.user_expressions[ASK] as unknown as { data?: Record<string, string> } | undefined;
    const unknown = [...(found?.data?.['text/plain'] ?? '').matchAll(/'([0-9a-f]+)'/g)].map(match => match[1]);
    for (const id of unknown) {
      const mark = this.known.get(id);
      this.known.delete(id);
      if (mark?.run) this.ended(mark);
    }
  }

  private take(_: Kernel.IKernelConnection, message: KernelMessage.IIOPubMessage): void {
    if (message.header.msg_type !== 'update_display_data') return;
    const { data, metadata, transient } = (message as KernelMessage.IUpdateDisplayDataMsg).content;
    if (this.known.has(transient.display_id)) this.update(transient.display_id, data, metadata);
  }

  update(display: string, data: object, metadata: object): void {
    updateDisplay(this.areas(), display, data, metadata);
  }
}
