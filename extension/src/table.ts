/** A table of the server, as far as it has come. */
import { Signal, type ISignal } from '@lumino/signaling';
import type { Connection } from './connection';
import type { Since, TopicMessage } from './frames';
import type { ITable, Row } from './tokens';

interface TableMessage<T> extends TopicMessage {
  upsert?: T[];
  remove?: string[];
}

/** The rows of one topic; shared by all that look at it. */
export class Rows<T extends Row> {
  readonly rows = new Map<string, T>();
  ready = false;
  error = '';
  private since: Since | null = null;
  private readonly _changed = new Signal<this, void>(this);
  private readonly end: () => void;

  constructor(connection: Connection, topic: string) {
    this.end = connection.subscribe(
      topic,
      m => this.take(m as TableMessage<T>),
      () => this.since
    );
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  private take(message: TableMessage<T>): void {
    if (!message.error && !this.since && !message.full) return; // the tail of an earlier subscription
    this.error = message.error ?? '';
    if (!message.error) {
      if (message.full) this.rows.clear();
      for (const row of message.upsert ?? []) this.rows.set(row.key, row);
      for (const key of message.remove ?? []) this.rows.delete(key);
      this.since = { epoch: message.epoch!, version: message.version! };
      this.ready = true;
    }
    this._changed.emit();
  }

  close(): void {
    this.end();
    Signal.clearData(this);
  }
}

/** One looker's hold on the rows. */
export class Table<T extends Row> implements ITable<T> {
  private readonly _changed = new Signal<this, void>(this);
  private disposed = false;

  constructor(
    private readonly source: Rows<T>,
    private readonly done: () => void
  ) {
    source.changed.connect(this.pass, this);
  }

  get ready(): boolean {
    return this.source.ready;
  }

  get error(): string {
    return this.source.error;
  }

  get rows(): ReadonlyMap<string, T> {
    return this.source.rows;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  private pass(): void {
    this._changed.emit();
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.source.changed.disconnect(this.pass, this);
    Signal.clearData(this);
    this.done();
  }
}
