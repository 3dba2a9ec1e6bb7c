/** The state of the headless dialog; no React, no widgets. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { Signal, type ISignal } from '@lumino/signaling';
import { checkWhole } from '../shared/python';
import type { Changed, IBench, NotebookForm, ParameterField, SweepOptions } from '../tokens';
import { readValues, shellWord, writeValues, type Read, type Value } from './values';

/** What of the notebook is needed; tests give their own. */
export interface Document {
  path: () => string; // below the server's folder
  save: () => Promise<void>; // when there is something to save
  cell: () => string | null; // the first line of the active code cell; null: none is active
  tag: () => void; // make that cell the parameters cell
}

export interface Options {
  devices: string;
  parallel: string;
  repeats: string;
  retries: string;
  output: string;
  changed: Changed;
}

export type Phase = 'asking' | 'ready' | 'problem';

export class HeadlessModel {
  phase: Phase = 'asking';
  problem = ''; // why there is no form
  refused = ''; // what the server said to Start
  sending = false;
  form: NotebookForm = { tagged: false, parameters: [] };
  options: Options = { devices: '1', parallel: '', repeats: '', retries: '', output: '', changed: 'refuse' };
  private texts: Record<string, string> = {};
  private turn = 0;
  private readonly _changed = new Signal<this, void>(this);

  constructor(
    private readonly document: Document,
    private readonly bench: Pick<IBench, 'notebook' | 'sweep'>,
    private readonly known: () => number,
    private readonly trans: TranslationBundle
  ) {}

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Save the notebook, then ask what it takes; also again. */
  async look(): Promise<void> {
    const turn = ++this.turn;
    this.phase = 'asking';
    this.emit();
    try {
      await this.document.save();
      const form = await this.bench.notebook(this.document.path());
      if (turn !== this.turn) return;
      this.form = form;
      this.phase = 'ready';
    } catch (error) {
      if (turn !== this.turn) return;
      this.problem = (error as Error).message;
      this.phase = 'problem';
    }
    this.emit();
  }

  get path(): string {
    return this.document.path();
  }

  get cell(): string | null {
    return this.document.cell();
  }

  /** Make the active cell the one with the parameters. */
  async tag(): Promise<void> {
    this.document.tag();
    await this.look();
  }

  textOf(name: string): string {
    return this.texts[name] ?? '';
  }

  set(name: string, text: string): void {
    this.texts[name] = text;
    this.refused = '';
    this.emit();
  }

  setOption<K extends keyof Options>(name: K, value: Options[K]): void {
    this.options = { ...this.options, [name]: value };
    this.refused = '';
    this.emit();
  }

  read({ name, kind }: ParameterField): Read {
    return readValues(this.textOf(name), kind, this.trans);
  }

  /** What was given, and only that. */
  get space(): Record<string, Value[]> {
    return Object.fromEntries(
      this.form.parameters
        .map(field => [field.name, this.read(field).values] as const)
        .filter(([, values]) => values.length)
    );
  }

  /** How often each set is run; 1 while that cannot be read. */
  get repeats(): number {
    return this.problems.repeats ? 1 : Number(this.options.repeats) || 1;
  }

  /** How many sets that makes. */
  get sizes(): number[] {
    return [...Object.values(this.space).map(values => values.length), ...(this.repeats > 1 ? [this.repeats] : [])];
  }

  get count(): number {
    return this.sizes.reduce((all, n) => all * n, 1);
  }

  get devices(): number {
    return this.known();
  }

  get problems(): Record<'devices' | 'parallel' | 'repeats' | 'retries', string> {
    const { devices, parallel, repeats, retries } = this.options;
    return {
      devices: checkWhole(devices, 0, this.trans, this.devices || Infinity),
      parallel: parallel.trim() ? checkWhole(parallel, 1, this.trans) : '',
      repeats: repeats.trim() ? checkWhole(repeats, 1, this.trans) : '',
      retries: retries.trim() ? checkWhole(retries, 0, this.trans) : ''
    };
  }

  get wrong(): boolean {
    return Object.values(this.problems).some(Boolean) || this.form.parameters.some(field => this.read(field).problem);
  }

  /** How many run at the same time, as far as it is known. */
  get atOnce(): number | null {
    const each = Number(this.options.devices);
    return each > 0 && this.devices ? Math.max(1, Math.floor(this.devices / each)) : null;
  }

  /** The same on a shell. */
  get command(): string {
    const { devices, parallel, repeats, retries, output, changed } = this.options;
    const given = Object.entries(this.space).flatMap(([name, values]) => ['-p', `${name}=${writeValues(values)}`]);
    const more = [
      ['--parallel', parallel],
      ['--repeats', this.repeats > 1 ? repeats : ''],
      ['--retries', Number(retries) ? retries : ''],
      ['--output', output],
      ['--changed', changed === 'refuse' ? '' : changed]
    ];
    const words = [
      'lepton-bench',
      'sweep',
      this.path,
      ...given,
      '--devices-each',
      devices.trim() || '1',
      ...more.flatMap(([name, value]) => (value.trim() ? [name, value.trim()] : []))
    ];
    return words.map(shellWord).join(' ');
  }

  private get sent(): SweepOptions {
    const { devices, parallel, retries, output, changed } = this.options;
    return {
      path: this.path,
      space: this.space,
      devices_each: Number(devices),
      ...(parallel.trim() ? { parallel: Number(parallel) } : {}),
      ...(this.repeats > 1 ? { repeats: this.repeats } : {}),
      ...(retries.trim() ? { retries: Number(retries) } : {}),
      ...(output.trim() ? { output: output.trim() } : {}),
      changed
    };
  }

  /** The id of the sweep, once and only if everything is right. */
  async submit(): Promise<string | null> {
    if (this.sending || this.phase !== 'ready' || this.wrong) return null;
    this.sending = true;
    this.refused = '';
    this.emit();
    try {
      await this.document.save();
      return await this.bench.sweep(this.sent);
    } catch (error) {
      this.refused = (error as Error).message;
      return null;
    } finally {
      this.sending = false;
      this.emit();
    }
  }

  emit(): void {
    this._changed.emit();
  }

  dispose(): void {
    this.turn++;
    Signal.clearData(this);
  }
}
