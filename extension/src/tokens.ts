/** What the parts agree on: rows of the server's tables, the model, the commands. */
import { Token } from '@lumino/coreutils';
import type { ISignal } from '@lumino/signaling';
import type { Source } from './plot/messages';

export interface Row {
  key: string;
}

export interface DeviceRow extends Row {
  id: string;
  label: string;
  kind: 'cuda' | 'cpu' | 'simulated';
  name: string;
  index: number;
  memory_total: number | null; // bytes
  memory_used: number | null;
  utilisation: number | null; // 0 to 1
  power: number | null; // watts
  temperature: number | null; // degrees Celsius
  state: 'free' | 'held' | 'quarantined' | 'unknown' | 'busy (not ours)';
  holder: {
    user: string;
    allocation: string;
    label: string;
    since: number | null;
    pid: number;
    kept_by: string;
  } | null; // kept_by: what keeps a quarantined one, and what to do
  foreign: { pid: number; user: string; name: string; memory: number | null }[];
  processes_known: boolean;
  history: { every: number; use: (number | null)[] }; // seconds; percent, the newest last
}

export interface AllocationRow extends Row {
  name: string;
  state: 'waiting' | 'idle' | 'running' | 'releasing';
  count: number;
  kind: string | null;
  device_kind: string | null;
  devices: string[];
  labels: string[];
  label: string; // notebook or command
  owner_alive: boolean | null; // null: nobody in particular
  mine_kernel: string | null; // id of the Jupyter kernel that owns it
  created: number; // unix seconds, as all times
  idle_since: number | null;
  run: string | null;
  queue: string[];
  warning: string;
  broken: string | null;
  ranks: { rank: number; pid: number }[];
  missing: string | null; // nodes that are not there, and why
  engine: string;
  job: number | null; // of the engine's scheduler
  once: boolean;
}

export interface RequestRow extends Row {
  id: string;
  name: string;
  count: number;
  kind: string | null;
  state: 'waiting' | 'granted' | 'failed' | 'cancelled';
  text: string; // the queue, or what went wrong
  created: number;
  allocation: string | null;
  kernel: string | null;
  run: string | null; // that goes on there
}

/** What a table shows of a parameter or a recorded value. */
export type Plain = number | string | boolean | null;

export type Status = 'waiting' | 'running' | 'stalled' | 'done' | 'failed' | 'stopped' | 'lost' | 'damaged';

/** What is known of a run wherever it is listed. */
export interface RunFacts extends Row {
  id: string;
  name: string;
  kind: string;
  status: Status;
  created: number;
  started: number | null;
  ended: number | null;
  world_size: number;
  allocation: string | null;
  arguments: string;
  reason: string | null;
  attempt: number;
  checkpoint: number | null;
  parent: string | null; // the run that has begun it
  output?: string | null; // of a headless notebook or a sweep: where a browser finds what it has written
  output_at?: string | null; // or where that is instead
}

/** How a sweep stands. */
export interface Sets {
  total: number;
  done: number;
  failed: number;
  running: number;
  waiting: number;
}

export interface RunRow extends RunFacts {
  restarts: number;
  step: number | null;
  progress: { done: number; total: number | null } | null;
  values: Record<string, Plain>;
  parameters?: Record<string, Plain>; // of a headless notebook
  sets?: Sets | null; // of a sweep
}

/** One run, all of it: the fields of RunRecord and what lies in its folder. */
export interface RunDetail extends RunFacts {
  devices: string[];
  device_kind: string;
  engine: string;
  restarts: { attempt: number; time: number; reason: string }[];
  error: { rank: number | null; type: string; message: string; traceback: string; log: string[] } | null;
  user: string;
  host: string;
  cwd: string;
  parameters: Record<string, unknown>;
  steps: number | null;
  extra: Record<string, unknown>;
  values: Record<string, unknown>;
  checkpoints: { step: number; bytes: number; time: number }[];
  directory: string;
  log_sizes: number[];
  has_system: boolean;
}

/** A table of the server, alive while somebody holds it. */
export interface ITable<T extends Row> {
  readonly ready: boolean; // the first answer is there
  readonly error: string; // why there is none
  readonly rows: ReadonlyMap<string, T>;
  readonly changed: ISignal<ITable<T>, void>;
  dispose(): void;
}

export interface AllocateOptions {
  count: number;
  kind?: string;
  memory?: string;
  engine?: string;
  options?: Record<string, string>; // the engine's own
  name?: string;
  priority?: number;
  time?: number | string; // seconds after which the devices are given back at the latest; a text that is none is the server's to refuse
  timeout?: number; // seconds
  kernel?: string; // id of the kernel that will own it
}

/** One parameter of a notebook. */
export interface ParameterField {
  name: string;
  default: string; // as it stands in the cell
  type: string; // what the cell says; empty: nothing
  help: string;
  kind: 'int' | 'number' | 'bool' | 'str' | 'any';
}

/** What a notebook takes. */
export interface NotebookForm {
  tagged: boolean; // there is a parameters cell
  parameters: ParameterField[];
}

/** What becomes of results that other code has made. */
export type Changed = 'refuse' | 'keep' | 'again';

export interface SweepOptions {
  path: string; // of the notebook, below the server's folder
  space: Record<string, unknown[]>;
  devices_each?: number;
  parallel?: number;
  repeats?: number; // how often each set is run
  retries?: number;
  output?: string;
  changed?: Changed;
}

/** Where the ranks of a run stand. */
export interface Standing {
  text: string; // ranks that stand in the same place together
  odd: number[]; // those that the others wait for
}

/** Where a run is to go on: in an allocation that is there, or on so many new devices. */
export type ResumePlace = { allocation: string } | { count: number };

export interface ServerStatus {
  version: string;
  home: string;
  host: string;
  user: string;
  survives: boolean;
  survives_why: string;
  engines: string[]; // that can be used on the server's host
}

export interface LogChunk {
  begin: number; // byte offset
  end: number;
  text: string;
  full: boolean; // forget what came before
}

/** Everything that the panels know and can do; the only way to the server. */
export interface IBench {
  readonly connected: boolean;
  readonly problem: string; // why it is not connected, for a person
  readonly connectionChanged: ISignal<IBench, void>;
  devices(): ITable<DeviceRow>;
  allocations(): ITable<AllocationRow>;
  requests(): ITable<RequestRow>;
  runs(): ITable<RunRow>;
  run(id: string): ITable<RunDetail>;
  series(run: string, options?: { system?: boolean; names?: string[] | null }): Source;
  log(run: string, rank: number, take: (chunk: LogChunk) => void): { dispose(): void };
  status(): Promise<ServerStatus>;
  source(run: string): Promise<{
    files: { name: string; text: string }[];
    arguments: string;
    versions: Record<string, string>;
    git_commit: string | null;
  }>;
  searchLog(
    run: string,
    rank: number,
    text: string
  ): Promise<{ matches: { line: number; begin: number; text: string }[]; more: boolean }>;
  logPart(
    run: string,
    rank: number,
    begin: number,
    end: number
  ): Promise<{ begin: number; end: number; size: number; text: string }>;
  output(run: string): Promise<Record<string, string>>; // what the launching cell of an ended run shows, by mime type
  metricsUrl(run: string, names?: string[]): string;
  allocate(options: AllocateOptions): Promise<string>; // id of the request
  cancel(request: string): Promise<void>;
  release(allocation: string): Promise<void>;
  restart(allocation: string): Promise<void>;
  notebook(path: string): Promise<NotebookForm>;
  sweep(options: SweepOptions): Promise<string>; // id of its run
  sweepAgain(run: string, changed?: Changed): Promise<void>; // what is not done
  stacks(run: string): Promise<Standing>;
  // the request for devices, if it needs new ones
  resumeRun(run: string, place: ResumePlace): Promise<{ request: string | null }>;
  stop(run: string, kill?: boolean): Promise<void>;
  remove(run: string): Promise<void>;
}

export const IBench = new Token<IBench>('lepton-bench:IBench', 'Devices, allocations and runs of lepton_bench.');

/** What a person has set. */
export interface IPreferences {
  readonly count: number; // devices that the form begins with
  readonly confirm: boolean; // ask before work would be lost
  readonly span: number; // minutes of a sparkline
  readonly pauseAfter: number; // seconds out of sight until updates pause; 0: never
  readonly changed: ISignal<IPreferences, void>;
}

export const IPreferences = new Token<IPreferences>('lepton-bench:IPreferences', 'Settings of lepton_bench.');

/** The domain of all strings. */
export const DOMAIN = 'lepton_bench';

export namespace CommandIDs {
  export const openSidebar = 'lepton-bench:open-sidebar';
  export const allocate = 'lepton-bench:allocate'; // opens the form; args {kernel?}
  export const release = 'lepton-bench:release'; // args {allocation}
  export const restart = 'lepton-bench:restart'; // args {allocation}
  export const attach = 'lepton-bench:attach'; // args {allocation}: inserts and runs lb.attach in the current notebook
  export const openRun = 'lepton-bench:open-run'; // args {run}
  export const stopRun = 'lepton-bench:stop-run'; // args {run, kill?}
  export const resumeRun = 'lepton-bench:resume-run'; // args {run}: asks where
  export const removeRun = 'lepton-bench:remove-run'; // args {run}
  export const cancel = 'lepton-bench:cancel'; // args {request}: hang up, or forget what has ended
  export const devicesTable = 'lepton-bench:devices-table'; // toggles the table behind the tiles
  // args {command}: that command, for what a context menu was opened on
  export const onTarget = 'lepton-bench:on-target';
  export const launch = 'lepton-bench:launch'; // the dialog for the current notebook
  // args {run, output?}: the notebook that a headless run has written
  export const openOutput = 'lepton-bench:open-output';
  export const revealRun = 'lepton-bench:reveal-run'; // args {run}: in the sidebar
  export const runHeadless = 'lepton-bench:run-headless'; // the dialog for the current notebook
  export const sweepAgain = 'lepton-bench:sweep-again'; // args {run}
  export const copyRunId = 'lepton-bench:copy-run-id'; // args {run}
}
