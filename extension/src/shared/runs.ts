/** Which runs are shown, in which order, and what their states are called. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { RunFacts, RunRow, Status } from '../tokens';

export const GOING: readonly Status[] = ['waiting', 'running', 'stalled']; // stalled: running, without a sign of life

export interface Filter {
  text: string; // words, all of which must occur in name, id or arguments
  status: '' | 'going' | Status;
}

export const going = (status: Status): boolean => GOING.includes(status);

export const runs = (status: Status): boolean => status === 'running' || status === 'stalled';

/** A notebook that is executed by itself, in a kernel of its own: no ranks of an allocation. */
export const isHeadless = ({ kind, allocation }: Pick<RunFacts, 'kind' | 'allocation'>): boolean =>
  kind === 'notebook' && !allocation;

/** Whether there is anything to go on with; a headless notebook is executed again instead, or its sweep. */
export const isResumable = (run: Pick<RunFacts, 'status' | 'kind' | 'allocation'>): boolean =>
  ['failed', 'stopped', 'lost'].includes(run.status) && !isHeadless(run);

/** The newest first; of the same second by id, so that rows do not jump. */
export function sortRuns(rows: Iterable<RunRow>): RunRow[] {
  return [...rows].sort((a, b) => b.created - a.created || (a.id < b.id ? 1 : -1));
}

/** What the summary line says. */
export function countRuns(rows: Iterable<RunRow>): { all: number; going: number } {
  let [all, n] = [0, 0];
  for (const row of rows) {
    all++;
    if (going(row.status)) n++;
  }
  return { all, going: n };
}

/** A state in the user's language. */
export function statusText(status: Status, trans: TranslationBundle): string {
  return (
    {
      waiting: trans.__('waiting'),
      running: trans.__('running'),
      stalled: trans.__('stalled'),
      done: trans.__('done'),
      failed: trans.__('failed'),
      stopped: trans.__('stopped'),
      lost: trans.__('lost'),
      damaged: trans.__('damaged')
    }[status] ?? status
  );
}
