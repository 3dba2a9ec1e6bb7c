/** What of the server is about one notebook, kept fresh while somebody looks. */
import type { ISessionContext } from '@jupyterlab/apputils';
import { Signal, type ISignal } from '@lumino/signaling';
import type { AllocationRow, IBench, ITable, RequestRow, RunRow } from '../tokens';
import { stateOf, type NotebookState } from './state';

const NONE: ReadonlyMap<string, RunRow> = new Map();

export class Bystander {
  private readonly allocations: ITable<AllocationRow>;
  private readonly requests: ITable<RequestRow>;
  private table: ITable<RunRow> | null = null; // only while a run of this notebook goes on
  private readonly _changed = new Signal<this, void>(this);
  state: NotebookState = { own: [], left: [], waiting: [], others: [] };
  isDisposed = false;

  constructor(
    readonly bench: IBench,
    private readonly context: ISessionContext,
    private readonly seen = new Set<string>()
  ) {
    this.allocations = bench.allocations();
    this.requests = bench.requests();
    for (const signal of this.signals()) signal.connect(this.update, this);
    this.update();
  }

  private signals(): ISignal<unknown, unknown>[] {
    return [this.allocations.changed, this.requests.changed, this.context.kernelChanged, this.bench.connectionChanged];
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get kernel(): string | null {
    return this.context.session?.kernel?.id ?? null;
  }

  get runs(): ReadonlyMap<string, RunRow> {
    return this.table?.rows ?? NONE;
  }

  get ready(): boolean {
    return this.allocations.ready;
  }

  private update(): void {
    const memory = { seen: this.seen, label: this.context.path.split('/').pop() ?? '' };
    this.state = stateOf(this.kernel, this.allocations.rows.values(), this.requests.rows.values(), memory);
    for (const row of this.state.own) this.seen.add(row.name);
    const wanted = [...this.state.own, ...this.state.left].some(row => row.run);
    if (wanted && !this.table) {
      this.table = this.bench.runs();
      this.table.changed.connect(this.emit, this);
    } else if (!wanted) this.leaveRuns();
    this.emit();
  }

  private leaveRuns(): void {
    this.table?.changed.disconnect(this.emit, this);
    this.table?.dispose();
    this.table = null;
  }

  private emit(): void {
    this._changed.emit();
  }

  dispose(): void {
    if (this.isDisposed) return;
    this.isDisposed = true;
    for (const signal of this.signals()) signal.disconnect(this.update, this);
    this.leaveRuns();
    this.allocations.dispose();
    this.requests.dispose();
    Signal.clearData(this);
  }
}
