/** What a notebook's toolbar item says; pure. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { AllocationRow, RequestRow, RunRow } from '../tokens';

type Translate = Pick<TranslationBundle, '__' | '_n'>;

/** What of the server's tables is about one notebook. */
export interface NotebookState {
  own: AllocationRow[]; // the newest first
  left: AllocationRow[]; // this notebook's, whose kernel has died or was restarted
  waiting: RequestRow[];
  others: AllocationRow[]; // of other notebooks or of nobody, ready to be attached
}

/** What tells a notebook's allocations when the kernel that held them is gone. */
export interface Memory {
  seen: ReadonlySet<string>; // held since this page was opened
  label: string; // the notebook's file name
}

const NOTHING: Memory = { seen: new Set(), label: '' };

export function stateOf(
  kernel: string | null,
  allocations: Iterable<AllocationRow>,
  requests: Iterable<RequestRow>,
  memory: Memory = NOTHING
): NotebookState {
  const all = [...allocations].sort((a, b) => b.created - a.created);
  const mine = (row: AllocationRow): boolean => kernel !== null && row.mine_kernel === kernel;
  const left = (row: AllocationRow): boolean =>
    row.owner_alive === false &&
    !row.once &&
    row.state !== 'waiting' &&
    (memory.seen.has(row.name) || (!!row.label && row.label === memory.label));
  return {
    own: all.filter(row => mine(row) && row.state !== 'waiting'),
    left: all.filter(row => !mine(row) && left(row)),
    waiting: kernel === null ? [] : [...requests].filter(row => row.kernel === kernel && row.state === 'waiting'),
    others: all.filter(
      row => !mine(row) && !left(row) && !row.once && (row.state === 'idle' || row.state === 'running')
    )
  };
}

/** How many wait for their turn earlier, as the queue says it: “…; ahead: ada wants 2 devices; ahead: … and 3 more”. */
export function countAhead(text: string): number {
  const more = /; ahead: [\s\S]* and (\d+) more/.exec(text);
  return (text.match(/; ahead: /g)?.length ?? 0) + (more ? Number(more[1]) : 0);
}

export function percent(run: RunRow | undefined): number | null {
  const { done, total } = run?.progress ?? { done: 0, total: null };
  return total !== null && total > 0 ? Math.floor(100 * Math.min(1, Math.max(0, done / total))) : null;
}

/** “2 × cpu”. */
export function devicesText(
  row: { count: number; device_kind?: string | null; kind: string | null },
  trans: Translate
): string {
  const kind = row.device_kind ?? row.kind;
  return kind ? trans.__('%1 × %2', row.count, kind) : trans._n('%1 device', '%1 devices', row.count);
}

function runText(run: RunRow | undefined, trans: Translate): string {
  const part = percent(run);
  const name = run?.name ?? trans.__('a run');
  return part === null ? trans.__('running %1', name) : trans.__('running %1 %2 %', name, part);
}

function allocationText(row: AllocationRow, run: RunRow | undefined, trans: Translate): string {
  const devices = devicesText(row, trans);
  if (row.broken) return trans.__('%1 · %2 · broken', devices, row.name);
  if (row.state === 'releasing') return trans.__('%1 · giving back', devices);
  return row.state === 'running'
    ? `${devices} · ${runText(run, trans)}`
    : trans.__('%1 · %2 · idle', devices, row.name);
}

function waitingText(row: RequestRow, trans: Translate): string {
  const ahead = countAhead(row.text);
  return ahead ? trans.__('waiting: %1 ahead', ahead) : trans.__('waiting for %1', devicesText(row, trans));
}

export type Mood = 'none' | 'idle' | 'left' | 'running' | 'waiting' | 'broken' | 'offline';

export interface Said {
  mood: Mood;
  text: string;
  title: string; // what a pointer or a screen reader gets besides
}

/** The item's words. A request is newer than what is held, and the person waits for it: it comes first. */
export function sayState(state: NotebookState, runs: ReadonlyMap<string, RunRow>, trans: Translate): Said {
  const [first] = state.own;
  const [request] = state.waiting;
  if (request)
    return {
      mood: 'waiting',
      text: waitingText(request, trans),
      title: request.text || trans.__('waiting for devices')
    };
  if (!first && state.left.length) return sayLeft(state.left, runs, trans);
  if (!first)
    return {
      mood: 'none',
      text: trans.__('no devices'),
      title: trans.__('This notebook holds no devices. Click to take some.')
    };
  const more = state.own.length > 1 ? ` +${state.own.length - 1}` : '';
  const run = first.run ? runs.get(first.run) : undefined;
  const mood = first.broken ? 'broken' : first.state === 'running' ? 'running' : 'idle';
  return {
    mood,
    text: allocationText(first, run, trans) + more,
    title: state.own.map(row => describe(row, runs, trans)).join('\n')
  };
}

/** The kernel is gone, the devices and what runs on them are not. */
function sayLeft(left: AllocationRow[], runs: ReadonlyMap<string, RunRow>, trans: Translate): Said {
  const [row] = left;
  const run = row.run ? runs.get(row.run) : undefined;
  const title = trans.__('The kernel that held it is gone; attach to go on with it.');
  return {
    mood: 'left',
    text: trans.__('%1 · not attached', allocationText(row, run, trans)),
    title: [title, ...left.map(r => describe(r, runs, trans))].join('\n')
  };
}

function describe(row: AllocationRow, runs: ReadonlyMap<string, RunRow>, trans: Translate): string {
  const run = row.run ? runs.get(row.run) : undefined;
  const lines = [`${row.name}: ${row.labels.join(', ') || devicesText(row, trans)}`];
  if (row.run) lines.push(`${runText(run, trans)} (${row.run})`);
  if (row.queue.length) lines.push(trans._n('%1 run waits in line', '%1 runs wait in line', row.queue.length));
  return [...lines, row.broken ?? '', row.warning].filter(Boolean).join('\n');
}
