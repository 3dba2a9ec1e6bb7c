/** Numbers and states in words. Pure functions. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { AllocationRow, RequestRow, RunDetail, Status } from '../tokens';
import { going } from '../shared/runs';

export function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let k = 0;
  for (; bytes >= 1000 && k < units.length - 1; k++) bytes /= 1000;
  return `${k ? bytes.toPrecision(3) : bytes} ${units[k]}`;
}

export function durationText(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds)),
    two = (n: number): string => String(n).padStart(2, '0');
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)} min`;
  return s < 172800
    ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)} h`
    : `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

export function timeText(time: number | null): string {
  return time === null ? '–' : new Date(time * 1000).toLocaleString();
}

export function isOver(status: Status): boolean {
  return !going(status);
}

/** How long it has been going, or went. */
export function elapsed(run: RunDetail, now: number): string {
  return run.started === null ? '' : durationText((run.ended ?? now) - run.started);
}

/** Why a run does not begin: who is before it on its allocation. */
export function waitingText(run: RunDetail, allocation: AllocationRow | undefined, trans: TranslationBundle): string {
  if (run.status !== 'waiting') return '';
  if (!allocation)
    return run.allocation ? trans.__('Waiting for allocation %1.', run.allocation) : trans.__('Waiting for devices.');
  if (allocation.broken) return trans.__('Allocation %1 is broken: %2', allocation.name, allocation.broken);
  if (allocation.state === 'waiting')
    return trans._n(
      'Allocation %2 still waits for its device.',
      'Allocation %2 still waits for its %1 devices.',
      allocation.count,
      allocation.name
    );
  const before = allocation.queue.indexOf(run.id);
  if (!allocation.run || allocation.run === run.id) return trans.__('Allocation %1 starts it.', allocation.name);
  return before > 0
    ? trans._n(
        'Allocation %2 is busy with run %3; %1 more is before this one.',
        'Allocation %2 is busy with run %3; %1 more are before this one.',
        before,
        allocation.name,
        allocation.run
      )
    : trans.__('Allocation %1 is busy with run %2; this one is next.', allocation.name, allocation.run);
}

/** The request for devices on which a run that is over is to go on, or could not. */
export function requestOf({ id, status, ended }: RunDetail, requests: Iterable<RequestRow>): RequestRow | undefined {
  const found = [...requests].filter(
    row => row.run === id && (row.state === 'waiting' || row.state === 'failed') && row.created >= (ended ?? 0)
  );
  return isOver(status) ? found.sort((a, b) => b.created - a.created)[0] : undefined;
}

export function requestText({ state, count, text }: RequestRow, trans: TranslationBundle): string {
  const said =
    state === 'failed'
      ? trans.__('It could not be resumed:')
      : trans._n('It goes on when it has its device.', 'It goes on when it has its %1 devices.', count);
  return [said, text].filter(Boolean).join('\n');
}

/** A value that a person can read, whatever it is. */
export function valueText(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
}

/** A name that every file system takes. */
export function fileName(...parts: string[]): string {
  return parts
    .join('-')
    .replace(/[^\w.-]+/g, '_')
    .slice(0, 120);
}
