/** One run in the list. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { deleteIcon, stopIcon } from '@jupyterlab/ui-components';
import { memo, type KeyboardEvent } from 'react';
import { CommandIDs, type RunRow, type Status } from '../tokens';
import { useBench } from './context';
import { going } from './filter';
import { duration, share, timeLeft, value } from './format';
import { useNow } from './hooks';
import { Ago, Bar, IconCommand } from './pieces';

export const statusText = (status: Status, trans: TranslationBundle): string =>
  ({ waiting: trans.__('waiting'), running: trans.__('running'), done: trans.__('done'), failed: trans.__('failed'), stopped: trans.__('stopped'), lost: trans.__('lost'), damaged: trans.__('damaged') })[status] ?? status;

/** Why it ended as it did not have to; else its last values. */
function endText(row: RunRow): string {
  const values = Object.entries(row.values).map(([name, x]) => `${name} ${value(x)}`).join(' · ');
  return (row.status !== 'done' && row.reason !== row.status && row.reason) || values;
}

function Progress({ row }: { row: RunRow }): JSX.Element | null {
  const { trans } = useBench();
  const now = useNow();
  const { progress } = row;
  if (!progress) return null;
  if (!progress.total) return <span className="jp-lb-fixed">{value(progress.done)}</span>;
  const part = share(progress.done, progress.total);
  const left = timeLeft(progress, row.started, now);
  const text = left === null ? `${Math.round(part * 100)} %` : trans.__('%1 %, %2 left', Math.round(part * 100), duration(left, trans));
  return (
    <>
      <Bar role="progressbar" name={trans.__('Progress of %1', row.name)} share={part} text={text} />
      <span className="jp-lb-fixed">{text}</span>
    </>
  );
}

export interface RunLineProps {
  row: RunRow;
  index: number;
  active: boolean; // the one that the keyboard is on
  height: number;
  onFocus: (id: string) => void;
  onKey: (event: KeyboardEvent, row: RunRow) => void;
  onOpen: (row: RunRow) => void;
}

export const RunLine = memo(({ row, index, active, height, onFocus, onKey, onOpen }: RunLineProps) => {
  const { trans } = useBench();
  const goes = going(row.status);
  const tab = active ? 0 : -1;
  const args = { run: row.id, name: row.name };
  const text = endText(row);
  const said = [statusText(row.status, trans), row.restarts ? trans._n('%1 restart', '%1 restarts', row.restarts) : ''].filter(Boolean).join(', ');
  return (
    <div className="jp-lb-run" role="row" aria-rowindex={index + 1} aria-selected={active} tabIndex={tab} data-state={row.status} data-run={row.id} data-status={row.status} data-name={row.name}
      style={{ top: index * height, height }} onFocus={() => onFocus(row.id)} onKeyDown={event => onKey(event, row)} onClick={() => onOpen(row)}>
      <div className="jp-lb-cell" role="gridcell">
        <div className="jp-lb-line">
          <span className="jp-lb-dot" aria-hidden="true" />
          <span className="jp-lb-cut jp-lb-name" title={`${row.name}\n${row.id}\n${row.arguments}`}>{row.name}</span>
          {row.arguments && <span className="jp-lb-cut jp-lb-dim">{row.arguments}</span>}
          <span className="jp-lb-age">{goes ? <Ago since={row.started ?? row.created} /> : <><Ago since={row.ended ?? row.created} every={5} /> {trans.__('ago')}</>}</span>
        </div>
        <div className="jp-lb-line jp-lb-dim">
          {row.status === 'running' && row.progress ? <Progress row={row} /> : <span className="jp-lb-state">{said}</span>}
          {text && <span className="jp-lb-cut" title={text}>· {text}</span>}
        </div>
      </div>
      <div className="jp-lb-actions" role="gridcell" onClick={event => event.stopPropagation()}>
        {goes
          ? <IconCommand command={CommandIDs.stopRun} args={args} icon={stopIcon} name={trans.__('Stop %1', row.name)} tab={tab} />
          : <IconCommand command={CommandIDs.removeRun} args={args} icon={deleteIcon} name={trans.__('Delete %1', row.name)} tab={tab} />}
      </div>
    </div>
  );
});
