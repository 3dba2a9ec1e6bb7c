/** One run in the list. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { caretDownIcon, caretRightIcon, deleteIcon, runIcon, stopIcon } from '@jupyterlab/ui-components';
import { memo, type KeyboardEvent } from 'react';
import { CommandIDs, type RunRow } from '../tokens';
import { useBench } from './context';
import { going, isHeadless, isResumable, runs, statusText } from '../shared/runs';
import { cellsText, duration, given, setsText, share, timeLeft, value } from '../shared/format';
import { useNow } from '../shared/hooks';
import { Ago, Bar, IconCommand } from './pieces';
import type { Line } from './tree';

/** Why it ended as it did not have to; else its last values. */
function endText(row: RunRow, trans: TranslationBundle): string {
  if (row.kind === 'sweep') return sweepText(row, trans);
  const values = Object.entries(row.values)
    .map(([name, x]) => `${name} ${value(x)}`)
    .join(' · ');
  return (row.status !== 'done' && row.reason !== row.status && row.reason) || values;
}

/** How a sweep has ended; its own reason counts the sets already. */
function sweepText({ status, reason, sets }: RunRow, trans: TranslationBundle): string {
  const counted = sets ? setsText(sets, trans) : '';
  if (going(status) || status === 'done') return status === 'running' ? '' : counted;
  return ['failed', 'stopped'].includes(status) && reason ? reason : [counted, reason].filter(Boolean).join(' · ');
}

/** How far it is: a sweep in sets, a notebook in cells. */
function progressText(row: RunRow, now: number, trans: TranslationBundle): string {
  const { done, total } = row.progress!;
  // one cell is not like the next
  const left = row.kind === 'notebook' ? null : timeLeft(row.progress, row.started, now);
  const part = row.sets
    ? setsText(row.sets, trans)
    : row.kind === 'notebook'
      ? cellsText(done, total ?? 0, trans)
      : trans.__('%1 %', Math.round(share(done, total) * 100));
  return left === null ? part : trans.__('%1, %2 left', part, duration(left, trans));
}

/** What a click does, and why not more. */
function clickText(row: RunRow, trans: TranslationBundle): string {
  if (row.kind !== 'notebook') return '';
  if (row.output) return trans.__('A click opens its notebook: %1', row.output);
  return row.output_at
    ? trans.__(
        'Its notebook lies where JupyterLab’s file browser does not reach: %1. A click opens the run.',
        row.output_at
      )
    : '';
}

/** The words that tell one run from its neighbours: a set of a sweep by its parameters. */
function Names({ row, depth }: { row: RunRow; depth: number }): JSX.Element {
  const { trans } = useBench();
  const pairs = depth > 0 && row.kind === 'notebook' ? Object.entries(row.parameters ?? {}) : [];
  const title = [row.name, row.id, row.arguments, clickText(row, trans)].filter(Boolean).join('\n');
  if (pairs.length) {
    return (
      <span className="jp-lb-pairs" title={title}>
        {pairs.map(([name, x]) => (
          <span key={name}>
            <span className="jp-lb-cut">{name}</span>
            <span className="jp-lb-cut">={given(x)}</span>
          </span>
        ))}
      </span>
    );
  }
  return (
    <>
      <span className="jp-lb-cut jp-lb-name" title={title}>
        {row.name}
      </span>
      {row.arguments && (
        <span className="jp-lb-cut jp-lb-dim">
          {row.kind === 'sweep' ? row.arguments.replace(/[[\]{}'"]/g, '') : row.arguments}
        </span>
      )}
    </>
  );
}

function Progress({ row }: { row: RunRow }): JSX.Element | null {
  const { trans } = useBench();
  const now = useNow();
  const { progress } = row;
  if (!progress) return null;
  if (!progress.total) return <span className="jp-lb-fixed">{value(progress.done)}</span>;
  const part = share(progress.done, progress.total);
  const text = progressText(row, now, trans);
  return (
    <>
      <Bar role="progressbar" name={trans.__('Progress of %1', row.name)} share={part} text={text} />
      <span className={row.kind === 'sweep' ? 'jp-lb-cut' : 'jp-lb-fixed'}>{text}</span>
    </>
  );
}

export interface RunLineProps extends Line {
  index: number;
  active: boolean; // the one that the keyboard is on
  height: number;
  onFocus: (id: string) => void;
  onKey: (event: KeyboardEvent, row: RunRow) => void;
  onOpen: (row: RunRow) => void;
  onToggle: (row: RunRow, open: boolean) => void;
}

export const RunLine = memo(
  ({ row, depth, open, index, active, height, onFocus, onKey, onOpen, onToggle }: RunLineProps) => {
    const { trans } = useBench();
    const goes = going(row.status);
    const tab = active ? 0 : -1;
    const label = depth > 0 && row.arguments ? `${row.name} (${row.arguments})` : row.name;
    const args = { run: row.id, name: label, kind: row.kind };
    const Twisty = open ? caretDownIcon : caretRightIcon;
    const text = endText(row, trans);
    const said = [
      statusText(row.status, trans),
      row.restarts ? trans._n('%1 restart', '%1 restarts', row.restarts) : ''
    ]
      .filter(Boolean)
      .join(', ');
    return (
      <div
        className="jp-lb-run"
        role="row"
        aria-rowindex={index + 1}
        aria-level={depth + 1}
        aria-expanded={open ?? undefined}
        aria-selected={active}
        tabIndex={tab}
        data-state={row.status}
        data-run={row.id}
        data-status={row.status}
        data-name={label}
        data-kind={row.kind}
        data-headless={isHeadless(row) || undefined}
        data-output={row.output ?? undefined}
        style={{ top: index * height, height, paddingInlineStart: open === null ? 12 + 16 * depth : 16 * depth }}
        onFocus={() => onFocus(row.id)}
        onKeyDown={event => onKey(event, row)}
        onClick={() => onOpen(row)}
      >
        {open !== null && (
          <div role="gridcell" onClick={event => event.stopPropagation()}>
            <button
              type="button"
              className="jp-lb-icon jp-lb-twisty"
              tabIndex={tab}
              aria-label={open ? trans.__('Close %1', label) : trans.__('Show what %1 has begun', label)}
              onClick={() => onToggle(row, !open)}
            >
              <Twisty.react tag="span" width="14px" height="14px" />
            </button>
          </div>
        )}
        <div className="jp-lb-cell" role="gridcell">
          <div className="jp-lb-line">
            <span className="jp-lb-dot" aria-hidden="true" />
            <Names row={row} depth={depth} />
            <span className="jp-lb-age">
              {goes ? (
                <Ago since={row.started ?? row.created} />
              ) : (
                <>
                  <Ago since={row.ended ?? row.created} every={5} /> {trans.__('ago')}
                </>
              )}
            </span>
          </div>
          <div className="jp-lb-line jp-lb-dim">
            {runs(row.status) && row.progress ? <Progress row={row} /> : <span className="jp-lb-state">{said}</span>}
            {text && (
              <span className="jp-lb-cut" title={text}>
                · {text}
              </span>
            )}
          </div>
        </div>
        <div className="jp-lb-actions" role="gridcell" onClick={event => event.stopPropagation()}>
          {isResumable(row) && (
            <IconCommand
              command={CommandIDs.resumeRun}
              args={args}
              icon={runIcon}
              name={trans.__('Resume %1', label)}
              tab={tab}
            />
          )}
          {goes ? (
            <IconCommand
              command={CommandIDs.stopRun}
              args={args}
              icon={stopIcon}
              name={trans.__('Stop %1', label)}
              tab={tab}
            />
          ) : (
            <IconCommand
              command={CommandIDs.removeRun}
              args={args}
              icon={deleteIcon}
              name={trans.__('Delete %1', label)}
              tab={tab}
            />
          )}
        </div>
      </div>
    );
  }
);
