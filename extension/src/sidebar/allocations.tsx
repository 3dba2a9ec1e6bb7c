/** Allocations: who has what, what waits, and the form that asks for more. */
import { closeIcon, linkIcon, refreshIcon } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import { memo, useMemo } from 'react';
import { CommandIDs, type AllocationRow, type RequestRow } from '../tokens';
import { useBench } from './context';
import { FormView } from './formview';
import { useRows, useSignal } from '../shared/hooks';
import { releaseIcon } from '../shared/icons';
import { Ago, Empty, IconCommand, Pending, TextCommand } from './pieces';

const stateText = (state: AllocationRow['state'], trans: TranslationBundle): string =>
  ({
    waiting: trans.__('waiting'),
    idle: trans.__('idle'),
    running: trans.__('running'),
    releasing: trans.__('releasing')
  })[state] ?? state;

function Owner({ row }: { row: AllocationRow }): JSX.Element {
  const { trans } = useBench();
  const text =
    row.owner_alive === null
      ? row.label || trans.__('nobody in particular')
      : row.owner_alive
        ? row.label
        : trans.__('%1 (gone)', row.label);
  return <span>{trans.__('owner: %1', text)}</span>;
}

/** Its run: to be opened where a dashboard is. */
function RunLink({ run }: { run: string }): JSX.Element {
  const { commands, trans } = useBench();
  if (!commands.hasCommand(CommandIDs.openRun)) return <span>{run}</span>;
  return (
    <button
      type="button"
      className="jp-lb-link"
      title={trans.__('Open the run')}
      onClick={() => void commands.execute(CommandIDs.openRun, { run })}
    >
      {run}
    </button>
  );
}

export const Card = memo(({ row, connected }: { row: AllocationRow; connected: boolean }) => {
  const { trans } = useBench();
  const args = { allocation: row.name };
  const settled = connected && row.state !== 'releasing';
  const ranks = row.ranks.map(r => `${r.rank} (${r.pid})`).join(', ');
  return (
    <li className="jp-lb-card jp-lb-allocation" data-state={row.state} data-allocation={row.name}>
      <div className="jp-lb-line">
        <span className="jp-lb-dot" aria-hidden="true" />
        <strong className="jp-lb-cut" title={row.name}>
          {row.name}
        </strong>
        <span className="jp-lb-state">{stateText(row.state, trans)}</span>
        {(row.state !== 'waiting' || row.job) && (
          <span className="jp-lb-actions" role="group" aria-label={trans.__('Actions on %1', row.name)}>
            {row.state !== 'waiting' && (
              <IconCommand
                command={CommandIDs.attach}
                args={args}
                icon={linkIcon}
                name={trans.__('Attach %1 to the notebook', row.name)}
                enabled={settled}
              />
            )}
            {row.state !== 'waiting' && (
              <IconCommand
                command={CommandIDs.restart}
                args={args}
                icon={refreshIcon}
                name={trans.__('Restart the workers of %1', row.name)}
                enabled={settled}
              />
            )}
            <IconCommand
              command={CommandIDs.release}
              args={args}
              icon={releaseIcon}
              name={trans.__('Release %1', row.name)}
              enabled={settled}
            />
          </span>
        )}
      </div>
      <div className="jp-lb-wrap">
        {row.labels.length ? row.labels.join(', ') : trans._n('%1 device', '%1 devices', row.count)}
        {row.engine && row.engine !== 'local' && (
          <>
            {' '}
            · <span>{row.job ? trans.__('%1 job %2', row.engine, row.job) : row.engine}</span>
          </>
        )}
        {' · '}
        <Owner row={row} />
      </div>
      <div className="jp-lb-wrap">
        <span>
          {row.state === 'waiting' ? trans.__('asked for') : trans.__('taken')} <Ago since={row.created} every={5} />{' '}
          {trans.__('ago')}
        </span>
        {row.run && (
          <>
            {' '}
            · {trans.__('run')} <RunLink run={row.run} />
          </>
        )}
        {!row.run && row.idle_since !== null && row.state === 'idle' && (
          <>
            {' '}
            · {trans.__('idle for')} <Ago since={row.idle_since} every={5} />
          </>
        )}
        {row.queue.length > 0 && <> · {trans._n('%1 run in line', '%1 runs in line', row.queue.length)}</>}
      </div>
      {ranks && <div className="jp-lb-wrap">{trans.__('ranks (pid): %1', ranks)}</div>}
      {row.missing && <div className="jp-lb-wrap jp-lb-warn">{row.missing}</div>}
      {row.warning && <div className="jp-lb-wrap jp-lb-warn">{row.warning}</div>}
      {row.broken && <div className="jp-lb-wrap jp-lb-error">{row.broken}</div>}
    </li>
  );
});

/** What waits or has failed, of this server. */
const Waiting = memo(({ row, connected }: { row: RequestRow; connected: boolean }) => {
  const { trans } = useBench();
  const waits = row.state === 'waiting';
  return (
    <li className="jp-lb-card" data-state={row.state}>
      <div className="jp-lb-line">
        <span className="jp-lb-dot" aria-hidden="true" />
        <strong className="jp-lb-cut" title={row.name}>
          {row.name}
        </strong>
        <span className="jp-lb-cut jp-lb-dim">
          {waits ? trans._n('waits for %1 device', 'waits for %1 devices', row.count) : trans.__('not given')}
        </span>
        <span className="jp-lb-age">
          <Ago since={row.created} every={waits ? 1 : 5} />
        </span>
        <IconCommand
          command={CommandIDs.cancel}
          args={{ request: row.id }}
          icon={closeIcon}
          name={waits ? trans.__('Cancel the request %1', row.name) : trans.__('Dismiss %1', row.name)}
          enabled={connected}
        />
      </div>
      {row.run && (
        <div className="jp-lb-wrap">
          {trans.__('to resume run')} <RunLink run={row.run} />
        </div>
      )}
      {row.text && <div className={`jp-lb-wrap ${waits ? '' : 'jp-lb-error'}`}>{row.text}</div>}
    </li>
  );
});

export function Allocations({ active }: { active: boolean }): JSX.Element {
  const { bench, form, trans } = useBench();
  useSignal(form.changed);
  useSignal(bench.connectionChanged);
  const found = useRows(bench.allocations, active);
  const asked = useRows(bench.requests, active);
  const kinds = useRows(bench.devices, active && form.stage !== 'closed');
  const requests = [...asked.rows.values()].filter(
    r => (r.state === 'waiting' || r.state === 'failed') && !form.shows(r.id)
  );
  // what was granted may be back in line
  const inRequests = new Set([...asked.rows.values()].filter(r => r.state === 'waiting').map(r => r.name));
  // one that waits stands under requests, unless it is somebody else's
  const rows = useMemo(() => [...found.rows.values()].sort((a, b) => b.created - a.created), [found.version]).filter(
    r => r.state !== 'waiting' || !inRequests.has(r.name)
  );
  const nothing = !rows.length && !requests.length && form.stage === 'closed';
  return (
    <>
      <div role="status" className="jp-lb-hidden">
        {form.said && trans.__('Allocated: %1', form.said)}
      </div>
      {form.stage !== 'closed' && <FormView form={form} devices={kinds.rows} />}
      {!found.ready ? (
        <Pending error={found.error} />
      ) : nothing ? (
        <Empty>
          <p>{trans.__('No allocations. Take some devices here, or in a notebook: lb.allocate(2).')}</p>
          <TextCommand command={CommandIDs.allocate}>{trans.__('Allocate Devices…')}</TextCommand>
        </Empty>
      ) : (
        <ul className="jp-lb-cards" aria-label={trans.__('Allocations')}>
          {requests.map(row => (
            <Waiting key={row.key} row={row} connected={bench.connected} />
          ))}
          {rows.map(row => (
            <Card key={row.key} row={row} connected={bench.connected} />
          ))}
        </ul>
      )}
    </>
  );
}
