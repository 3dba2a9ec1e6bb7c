/** State and signals; no React, no widgets. */
import { Signal, type ISignal } from '@lumino/signaling';
import { Connection } from './connection';
import { LogFeed } from './log';
import type { Reply, Source, Want } from './plot/messages';
import { addressOf, openSocket, request, send } from './request';
import { Rows, Table } from './table';
import type {
  AllocateOptions,
  AllocationRow,
  Changed,
  DeviceRow,
  IBench,
  ITable,
  LogChunk,
  NotebookForm,
  RequestRow,
  ResumePlace,
  Row,
  RunDetail,
  RunRow,
  ServerStatus,
  Standing,
  SweepOptions
} from './tokens';

const LINGER = 5000; // milliseconds for which a table is kept after the last look

/** What of the network the model uses; tests give their own. */
export interface Network {
  openSocket: () => WebSocket;
  request: typeof request;
  send: typeof send;
}

export class BenchModel implements IBench {
  private readonly connection: Connection;
  private readonly tables = new Map<string, { rows: Rows<Row>; holders: number }>();
  private readonly logs = new Map<string, LogFeed>();
  private readonly _changed = new Signal<this, void>(this);
  problem = '';

  constructor(private readonly network: Network = { openSocket, request, send }) {
    this.connection = new Connection(network.openSocket, () => void this.explain());
    this.connection.changed.connect(() => {
      if (this.connection.connected) this.problem = '';
      this._changed.emit();
    });
  }

  get connected(): boolean {
    return this.connection.connected;
  }

  get connectionChanged(): ISignal<this, void> {
    return this._changed;
  }

  /** Why the socket does not open: a browser does not say it. */
  private async explain(): Promise<void> {
    let problem = 'The connection is interrupted.';
    try {
      await this.status();
    } catch (error) {
      problem = (error as Error).message;
    }
    if (this.connected) return; // it came back meanwhile
    this.problem = problem;
    this._changed.emit();
  }

  private table<T extends Row>(topic: string): ITable<T> {
    const known = this.tables.get(topic) ?? { rows: new Rows<Row>(this.connection, topic), holders: 0 };
    known.holders++;
    this.tables.set(topic, known);
    return new Table<T>(known.rows as unknown as Rows<T>, () => {
      known.holders--;
      setTimeout(() => {
        if (known.holders || this.tables.get(topic) !== known) return;
        this.tables.delete(topic);
        known.rows.close();
      }, LINGER);
    });
  }

  devices = (): ITable<DeviceRow> => this.table('devices');
  allocations = (): ITable<AllocationRow> => this.table('allocations');
  requests = (): ITable<RequestRow> => this.table('requests');
  runs = (): ITable<RunRow> => this.table('runs');
  run = (id: string): ITable<RunDetail> => this.table(`run/${id}`);

  /** What a plot asks and hears, as a cell's plot does it with its kernel. */
  series(run: string, options: { system?: boolean; names?: string[] | null } = {}): Source {
    const takers = new Set<(reply: Reply, buffers: DataView[]) => void>();
    return {
      ask: (want: Want) =>
        this.connection.ask(
          { run, system: options.system ?? false, names: options.names ?? null, want },
          ({ reply, buffers }) =>
            [...takers].forEach(take => take({ ...(reply as Reply), id: want.id } as Reply, buffers)),
          takers
        ),
      listen: take => {
        takers.add(take);
        return () => {
          takers.delete(take);
          if (!takers.size) this.connection.forget(takers);
        };
      }
    };
  }

  log(run: string, rank: number, take: (chunk: LogChunk) => void): { dispose(): void } {
    const topic = `logs/${run}/${rank}`;
    const feed = this.logs.get(topic) ?? new LogFeed(this.connection, topic);
    this.logs.set(topic, feed);
    const end = feed.add(take);
    return {
      dispose: () => {
        end();
        if (!feed.idle || this.logs.get(topic) !== feed) return;
        this.logs.delete(topic);
        feed.close();
      }
    };
  }

  status = (): Promise<ServerStatus> => this.network.request('api/status');
  source = (run: string): ReturnType<IBench['source']> => this.network.request(`api/runs/${run}/source`);
  output = (run: string): Promise<Record<string, string>> => this.network.request(`api/runs/${run}/output`);
  searchLog = (run: string, rank: number, text: string): ReturnType<IBench['searchLog']> =>
    this.network.request(`api/runs/${run}/logs/${rank}?search=${encodeURIComponent(text)}`);
  logPart = (run: string, rank: number, begin: number, end: number): ReturnType<IBench['logPart']> =>
    this.network.request(`api/runs/${run}/logs/${rank}/part?begin=${begin}&end=${end}`);

  metricsUrl(run: string, names: string[] = []): string {
    return (
      addressOf(`api/runs/${run}/metrics.csv`) +
      (names.length ? `?${names.map(n => `names=${encodeURIComponent(n)}`).join('&')}` : '')
    );
  }

  async allocate(options: AllocateOptions): Promise<string> {
    return (await this.network.send<{ id: string }>('POST', 'api/requests', options)).id;
  }

  notebook = (path: string): Promise<NotebookForm> =>
    this.network.request(`api/notebooks/parameters?path=${encodeURIComponent(path)}`);

  async sweep(options: SweepOptions): Promise<string> {
    return (await this.network.send<{ id: string }>('POST', 'api/sweeps', options)).id;
  }

  sweepAgain = (run: string, changed: Changed = 'refuse'): Promise<void> =>
    this.network.send('POST', `api/sweeps/${run}/again`, { changed });

  cancel = (id: string): Promise<void> => this.network.send('DELETE', `api/requests/${id}`);
  release = (name: string): Promise<void> =>
    this.network.send('POST', `api/allocations/${encodeURIComponent(name)}/release`, {});
  restart = (name: string): Promise<void> =>
    this.network.send('POST', `api/allocations/${encodeURIComponent(name)}/restart`, {});
  stacks = (run: string): Promise<Standing> => this.network.request(`api/runs/${run}/stacks`);
  resumeRun = (run: string, place: ResumePlace): Promise<{ request: string | null }> =>
    this.network.send('POST', `api/runs/${run}/resume`, place);
  stop = (run: string, kill = false): Promise<void> => this.network.send('POST', `api/runs/${run}/stop`, { kill });
  remove = (run: string): Promise<void> => this.network.send('DELETE', `api/runs/${run}`);

  /** The network came back. */
  retry(): void {
    this.connection.retry();
  }

  /** Nobody looks at the page. */
  pause(): void {
    this.connection.pause();
  }

  /** Somebody looks again. */
  resume(): void {
    this.connection.resume();
  }

  dispose(): void {
    this.connection.dispose();
    Signal.clearData(this);
  }
}
