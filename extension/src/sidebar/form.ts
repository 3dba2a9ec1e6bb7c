/** Asking for devices: what is typed, what was asked for, what the server said. */
import { Signal, type ISignal } from '@lumino/signaling';
import type { AllocateOptions, IBench, ITable, RequestRow } from '../tokens';
import { asSeconds } from '../shared/python';

export interface Fields {
  count: string;
  kind: string; // empty: any
  memory: string;
  engine: string;
  name: string;
  limit: string; // seconds, of the local engine: Slurm counts otherwise
  partition: string; // this and what follows: Slurm's
  time: string;
  nodes: string;
  flags: string;
}

const SLURM = ['partition', 'time', 'nodes', 'flags'] as const;

export type Stage = 'closed' | 'editing' | 'sending' | 'waiting';

export class AllocateForm {
  stage: Stage = 'closed';
  fields: Fields;
  error = '';
  engines = ['local']; // that can be chosen
  said = ''; // the last thing that happened, for a screen reader
  kernel: { id: string; label: string } | null = null;
  private id = '';
  private seen = false;
  private requests: ITable<RequestRow> | null = null;
  private readonly _changed = new Signal<this, void>(this);

  constructor(
    private readonly bench: Pick<IBench, 'allocate' | 'cancel' | 'requests' | 'status'>,
    private readonly count: () => number = () => 1
  ) {
    this.fields = this.empty();
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** The request that is waited for, as far as it is known. */
  get request(): RequestRow | null {
    return (this.id && this.requests?.rows.get(this.id)) || null;
  }

  private empty(): Fields {
    return {
      count: String(this.count()),
      kind: '',
      memory: '',
      engine: 'local',
      name: '',
      limit: '',
      partition: '',
      time: '',
      nodes: '',
      flags: ''
    };
  }

  private emit(): void {
    this._changed.emit();
  }

  /** Show it; what was typed before is still there. */
  open(kernel: { id: string; label: string } | null = null): void {
    if (this.stage === 'closed') {
      this.stage = 'editing';
      this.said = '';
      const { name, memory, limit, kind, engine } = this.fields;
      if (!this.error && !name && !memory && !limit && !kind && engine === 'local') this.fields = this.empty();
      void this.findEngines();
    }
    if (this.stage === 'editing') this.kernel = kernel;
    this.emit();
  }

  /** Where devices can be asked for; a server that does not answer is spoken of elsewhere. */
  private async findEngines(): Promise<void> {
    try {
      this.engines = (await this.bench.status()).engines;
    } catch {
      return;
    }
    this.emit();
  }

  /** Hide it; a request that waits goes on waiting, and stands in the list. */
  close(): void {
    if (this.stage === 'sending') return;
    this.stage = 'closed';
    this.error = '';
    this.forget();
    this.emit();
  }

  edit(change: Partial<Fields>): void {
    if (this.stage !== 'editing') return;
    this.fields = { ...this.fields, ...change };
    this.error = '';
    this.emit();
  }

  disown(): void {
    this.kernel = null;
    this.emit();
  }

  /** What the fields mean; an error where they mean nothing. */
  options(): AllocateOptions {
    const { count, kind, memory, engine, name, limit } = this.fields;
    const slurm = engine === 'slurm';
    const filled = {
      kind,
      memory: slurm ? '' : memory.trim(),
      name: name.trim(),
      engine,
      kernel: this.kernel?.id ?? ''
    };
    const own = slurm ? SLURM.map(field => [field, this.fields[field].trim()]).filter(([, text]) => text) : [];
    return {
      count: Number(count),
      ...Object.fromEntries(Object.entries(filled).filter(([, text]) => text)),
      ...(limit.trim() && !slurm ? { time: asSeconds(limit) } : {}),
      ...(own.length ? { options: Object.fromEntries(own) as Record<string, string> } : {})
    };
  }

  async submit(): Promise<void> {
    if (this.stage !== 'editing') return; // a double click asks once
    this.stage = 'sending';
    this.error = '';
    this.emit();
    try {
      this.id = await this.bench.allocate(this.options());
    } catch (error) {
      this.failed((error as Error).message);
      return;
    }
    this.stage = 'waiting';
    this.requests = this.bench.requests();
    this.requests.changed.connect(this.look, this);
    this.look();
  }

  /** How the request stands. */
  private look(): void {
    const request = this.request;
    if (!request && this.seen && this.requests?.ready) return this.failed(''); // cancelled from another page
    this.seen ||= !!request;
    if (request?.state === 'failed') return this.failed(request.text);
    if (request?.state === 'cancelled') return this.failed('');
    if (request?.state === 'granted') {
      this.stage = 'closed';
      this.said = request.allocation ?? request.name;
      this.fields = this.empty();
      this.forget();
    }
    this.emit();
  }

  /** Back to the fields, as they were. */
  private failed(error: string): void {
    const id = this.id;
    this.stage = 'editing';
    this.error = error;
    this.forget();
    if (id && error) void this.bench.cancel(id).catch(() => undefined); // it is said here: no need to keep it
    this.emit();
  }

  async cancel(): Promise<void> {
    if (this.stage !== 'waiting') return;
    try {
      await this.bench.cancel(this.id);
      if (this.stage === 'waiting') this.failed('');
    } catch (error) {
      this.error = (error as Error).message;
      this.emit();
    }
  }

  private forget(): void {
    this.requests?.changed.disconnect(this.look, this);
    this.requests?.dispose();
    this.requests = null;
    this.id = '';
    this.seen = false;
  }

  /** The request is shown here and need not stand in the list. */
  shows(request: string): boolean {
    return this.stage === 'waiting' && this.id === request;
  }

  dispose(): void {
    this.forget();
    Signal.clearData(this);
  }
}
