/** The launch dialog's state; no React, no widgets. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { Signal, type ISignal } from '@lumino/signaling';
import type { AllocationRow } from '../tokens';
import {
  EXPRESSIONS,
  KernelError,
  startOf,
  valuesToSend,
  type Filled,
  type Introspection,
  type Launchable,
  type Value
} from './answers';
import { checkForm, launchCode, type LaunchForm, type Where } from '../shared/python';
import type { IAsker } from './kernel';
import type { NotebookState } from './state';

export type Phase = 'asking' | 'ready' | 'empty' | 'problem';

/** One allocation to choose from. */
export interface Place {
  key: string; // its name; empty: new devices
  row: AllocationRow | null; // null: only the kernel knows it
  mine: boolean;
}

export interface Options {
  place: string;
  count: string;
  deviceKind: string;
  time: string;
  name: string;
  restarts: string;
}

export interface Surroundings {
  state: NotebookState; // what the server says of this notebook's allocations
  devices: { kind: string }[];
}

export class LaunchModel {
  phase: Phase = 'asking';
  problem: KernelError | null = null;
  found: Introspection | null = null;
  chosen: Launchable | null = null;
  filled: Filled | null = null;
  tried = false; // Launch was pressed: what is missing is said too
  readonly touched = new Set<string>();
  options: Options = { place: '', count: '1', deviceKind: '', time: '', name: '', restarts: '' };
  private readonly seen = new Set<string>(); // allocations that the server has listed: what it lists no more is gone
  // of each function: whoever goes back finds what was typed
  private values: Record<string, Record<string, Value>> = {};
  private placeChosen = false;
  private wanted = 0; // counts what has been typed
  private answered = 0;
  private filling: Promise<void> = Promise.resolve();
  private working = -1; // the turn whose questions are under way
  private turn = 0;
  private done = false;
  private readonly _changed = new Signal<this, void>(this);

  constructor(
    private readonly asker: IAsker,
    private surroundings: Surroundings,
    private readonly trans: Pick<TranslationBundle, '__'>
  ) {
    asker.busyChanged.connect(this.emit, this);
    asker.lost.connect(this.lost, this);
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** An answer is asked for and a cell stands before it. */
  get busy(): boolean {
    return this.asker.busy && (this.phase === 'asking' || this.answered !== this.wanted);
  }

  /** What was typed is not judged yet. */
  get pending(): boolean {
    return this.answered !== this.wanted;
  }

  /** Ask for the functions; also again. */
  async look(): Promise<void> {
    const turn = ++this.turn;
    this.phase = 'asking';
    this.problem = null;
    this.emit();
    try {
      const found = await this.asker.ask<Introspection>(EXPRESSIONS.introspect());
      if (turn === this.turn) this.take(found);
    } catch (error) {
      if (turn === this.turn) this.fail(error as Error);
    }
  }

  private take(found: Introspection): void {
    const name = this.chosen?.name;
    this.found = found;
    this.chosen = null;
    this.phase = found.functions.length ? 'ready' : 'empty';
    this.settlePlace();
    const own = found.functions.filter(f => f.module === '__main__');
    // the last one that was defined
    const best = found.functions.find(f => f.name === name) ?? own[own.length - 1] ?? found.functions[0];
    if (best) this.choose(best.name);
    this.emit();
  }

  private fail(error: Error): void {
    this.phase = 'problem';
    this.problem =
      error instanceof KernelError
        ? error
        : new KernelError(this.trans.__('The kernel does not answer.'), error.message);
    this.emit();
  }

  private lost(_: IAsker, error: KernelError): void {
    this.turn++;
    this.answered = this.wanted;
    this.fail(error);
  }

  choose(name: string): void {
    const chosen = this.found?.functions.find(f => f.name === name);
    if (!chosen) return;
    this.chosen = chosen;
    this.filled = null;
    this.tried = false;
    this.touched.clear();
    this.refill();
  }

  valueOf(name: string): Value {
    const field = this.chosen!.fields.find(f => f.name === name)!;
    return this.values[this.chosen!.name]?.[name] ?? startOf(field);
  }

  set(name: string, value: Value): void {
    (this.values[this.chosen!.name] ??= {})[name] = value;
    this.refill();
  }

  /** Somebody has left the field: what is wrong there is said. */
  leave(name: string): void {
    this.touched.add(name);
    this.emit();
  }

  setOption(name: keyof Options, value: string): void {
    if (name === 'place') this.placeChosen = true;
    this.options = { ...this.options, [name]: value };
    this.emit();
  }

  surround(surroundings: Surroundings): void {
    this.surroundings = surroundings;
    this.settlePlace();
    this.emit();
  }

  get deviceKinds(): string[] {
    return [...new Set(this.surroundings.devices.map(d => d.kind))];
  }

  /** This notebook's, those that only its kernel knows, those of others, new ones. */
  get places(): Place[] {
    const { own, left, others } = this.surroundings.state;
    const held = this.found?.held ?? {};
    const known = [...own, ...left, ...others].map(row => ({
      key: row.name,
      row,
      mine: !others.includes(row) || row.name in held
    }));
    const only = Object.keys(held)
      .filter(name => !this.seen.has(name))
      .map(key => ({ key, row: null, mine: true }));
    return [...known.filter(p => p.mine), ...only, ...known.filter(p => !p.mine), { key: '', row: null, mine: false }];
  }

  private settlePlace(): void {
    const { own, left, others } = this.surroundings.state;
    for (const row of [...own, ...left, ...others]) this.seen.add(row.name);
    const { places } = this;
    if (places.some(p => p.key === this.options.place) && (this.placeChosen || this.options.place)) return;
    this.options = { ...this.options, place: places.find(p => p.mine)?.key ?? '' };
    this.placeChosen = false;
  }

  private get where(): Where {
    const { place: name, count, deviceKind, time } = this.options;
    const variable = this.found?.held[name];
    if (!name) return { kind: 'new', count, deviceKind, time };
    return variable ? { kind: 'held', name, variable } : { kind: 'attach', name };
  }

  private get form(): LaunchForm {
    const { chosen } = this;
    return {
      call: this.filled?.call || `${chosen?.name ?? ''}${chosen?.fields.length ? ', …' : ''}`,
      where: this.where,
      name: this.options.name,
      restarts: this.options.restarts
    };
  }

  /** What would be inserted. */
  get code(): string {
    return this.chosen && this.found ? launchCode(this.form, this.found.names) : '';
  }

  /** What is wrong with the options. */
  get optionProblems(): Record<'count' | 'time' | 'restarts', string> {
    const { deviceKind } = this.options;
    const devices = this.surroundings.devices.filter(d => !deviceKind || d.kind === deviceKind).length;
    return checkForm(this.form, devices, this.trans);
  }

  /** What is wrong with an argument, once somebody has been there. */
  problemOf(name: string): string {
    const said = this.filled?.problems[name] ?? '';
    return this.tried ||
      this.touched.has(name) ||
      this.valueOf(name) !== startOf(this.chosen!.fields.find(f => f.name === name)!)
      ? said
      : '';
  }

  private refill(): void {
    this.wanted++;
    this.emit();
    if (this.working !== this.turn) this.filling = this.fill();
  }

  /** One question at a time, the newest next. */
  private async fill(): Promise<void> {
    const turn = (this.working = this.turn);
    try {
      while (this.chosen && this.phase === 'ready' && this.answered !== this.wanted)
        if (!(await this.fillOnce(this.chosen))) return;
    } finally {
      if (this.working === turn) this.working = -1;
    }
  }

  private async fillOnce(chosen: Launchable): Promise<boolean> {
    const { wanted, turn } = this;
    try {
      const filled = await this.asker.ask<Filled>(
        EXPRESSIONS.fill(chosen.name, valuesToSend(chosen.fields, this.values[chosen.name] ?? {}))
      );
      if (turn !== this.turn) return false;
      this.answered = wanted;
      if (filled.gone) void this.look();
      else if (chosen === this.chosen) this.filled = filled;
      this.emit();
      return !filled.gone;
    } catch (error) {
      if (turn === this.turn) this.fail(error as Error);
      return false;
    }
  }

  /** The cell, once and only if everything is right. */
  async submit(): Promise<string | null> {
    if (this.done || this.phase !== 'ready') return null;
    this.tried = true;
    this.emit();
    while (this.working === this.turn) await this.filling;
    const wrong = Object.values({ ...this.filled?.problems, ...this.optionProblems }).some(Boolean);
    if (this.done || this.phase !== 'ready' || wrong || !this.filled?.call) return null;
    this.done = true;
    return this.code;
  }

  private emit(): void {
    this._changed.emit();
  }

  dispose(): void {
    this.turn++;
    this.asker.busyChanged.disconnect(this.emit, this);
    this.asker.lost.disconnect(this.lost, this);
    this.asker.dispose();
    Signal.clearData(this);
  }
}
