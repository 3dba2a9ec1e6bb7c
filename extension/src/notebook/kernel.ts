/** Questions to a notebook's kernel that leave no trace: no cell, no history, no variable. */
import type { ISessionContext } from '@jupyterlab/apputils';
import type { Kernel } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import { PromiseDelegate } from '@lumino/coreutils';
import { Signal, type ISignal } from '@lumino/signaling';
import { KernelError, readReply } from './answers';

const TRIES = 5; // a cell that fails takes the questions behind it with it

/** What a dialog needs of a kernel. */
export interface IAsker {
  readonly busy: boolean; // a cell is running: an answer comes when it has ended
  readonly busyChanged: ISignal<IAsker, void>;
  readonly lost: ISignal<IAsker, KernelError>; // what it knew is gone
  ask<T>(expression: string): Promise<T>;
  dispose(): void;
}

export class Asker implements IAsker {
  private readonly _busyChanged = new Signal<this, void>(this);
  private readonly _lost = new Signal<this, KernelError>(this);
  private readonly pending = new Set<PromiseDelegate<never>>();

  constructor(
    private readonly context: ISessionContext,
    private readonly trans: Pick<TranslationBundle, '__'>
  ) {
    context.statusChanged.connect(this.statusChanged, this);
    context.kernelChanged.connect(this.kernelChanged, this);
    context.connectionStatusChanged.connect(this.connectionChanged, this);
  }

  get busy(): boolean {
    return this.context.session?.kernel?.status === 'busy' || this.context.session?.kernel?.status === 'starting';
  }

  get busyChanged(): ISignal<this, void> {
    return this._busyChanged;
  }

  get lost(): ISignal<this, KernelError> {
    return this._lost;
  }

  /** Evaluate an expression whose value is an Answer; KernelError says why it cannot be. */
  async ask<T>(expression: string): Promise<T> {
    const given = new PromiseDelegate<never>();
    given.promise.catch(() => undefined);
    this.pending.add(given);
    try {
      return await Promise.race([this.evaluate<T>(expression), given.promise]);
    } finally {
      this.pending.delete(given);
    }
  }

  private async evaluate<T>(expression: string): Promise<T> {
    const kernel = await this.kernel();
    for (let left = TRIES; ; left--) {
      const content = {
        code: '',
        silent: true,
        store_history: false,
        allow_stdin: false,
        stop_on_error: false,
        user_expressions: { answer: expression }
      };
      const reply = await kernel.requestExecute(content, true).done;
      if ((reply.content.status as string) !== 'aborted' || !left)
        return readReply<T>(reply.content as Parameters<typeof readReply>[0], this.trans);
    }
  }

  private async kernel(): Promise<Kernel.IKernelConnection> {
    const { trans } = this;
    if (this.context.hasNoKernel && !this.context.isReady) await this.context.ready;
    const kernel = this.context.session?.kernel;
    if (!kernel)
      throw new KernelError(
        trans.__('This notebook has no kernel.'),
        trans.__('Choose one at the right end of the toolbar, run the cells, and look again.')
      );
    if (kernel.status === 'dead') throw this.dead();
    const { language_info: language } = await kernel.info;
    if (language.name !== 'python')
      throw new KernelError(
        trans.__('This notebook’s kernel speaks %1.', language.name),
        trans.__('Functions can be launched from Python notebooks.')
      );
    return kernel;
  }

  private dead(): KernelError {
    return new KernelError(
      this.trans.__('The kernel has died.'),
      this.trans.__(
        'Restart it, run the cells that define your functions, and look again. Runs that go on are not touched by it.'
      )
    );
  }

  private statusChanged(_: ISessionContext, status: Kernel.Status): void {
    const { trans } = this;
    if (status === 'dead' || status === 'terminating') this.lose(this.dead());
    else if (status === 'autorestarting')
      this.lose(new KernelError(trans.__('The kernel has died and is being started again.'), this.again()));
    else if (status === 'restarting')
      this.lose(new KernelError(trans.__('The kernel is being restarted.'), this.again()));
    this._busyChanged.emit();
  }

  private again(): string {
    return this.trans.__(
      'What it knew is gone: run the cells that define your functions, and look again. Runs that go on are not touched by it.'
    );
  }

  private kernelChanged(): void {
    this.lose(new KernelError(this.trans.__('The notebook has another kernel now.'), this.again()));
  }

  private connectionChanged(_: ISessionContext, status: Kernel.ConnectionStatus): void {
    // while JupyterLab still tries (“connecting”), answers come late but they come
    if (status === 'disconnected')
      this.lose(
        new KernelError(
          this.trans.__('The connection to the kernel is lost.'),
          this.trans.__('Look again once JupyterLab has it back.')
        )
      );
  }

  private lose(error: KernelError): void {
    for (const given of this.pending) given.reject(error);
    this._lost.emit(error);
  }

  dispose(): void {
    this.context.statusChanged.disconnect(this.statusChanged, this);
    this.context.kernelChanged.disconnect(this.kernelChanged, this);
    this.context.connectionStatusChanged.disconnect(this.connectionChanged, this);
    for (const given of this.pending) given.reject(new KernelError('')); // nobody listens any more
    Signal.clearData(this);
  }
}
