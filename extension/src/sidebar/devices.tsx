/** Devices: a tile each, or one table. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { memo, useMemo } from 'react';
import type { DeviceRow } from '../tokens';
import { useBench } from './context';
import { DeviceTable } from './devicetable';
import { bytes, share } from '../shared/format';
import { useRows, useSignal } from '../shared/hooks';
import { Ago, Bar, Empty, Pending } from './pieces';
import { Sparkline } from './sparkline';

export function stateText(state: DeviceRow['state'], trans: TranslationBundle): string {
  const texts = {
    free: trans.__('free'),
    held: trans.__('held'),
    quarantined: trans.__('quarantined'),
    unknown: trans.__('unknown'),
    'busy (not ours)': trans.__('busy (not ours)')
  };
  return texts[state] ?? state;
}

/** What processes of others are on it. */
export function foreignText(row: DeviceRow, trans: TranslationBundle): string {
  if (!row.processes_known) return trans.__('Its processes cannot be known here.');
  return row.foreign
    .map(p => trans.__('%1 (pid %2, %3%4)', p.name, p.pid, p.user, p.memory === null ? '' : `, ${bytes(p.memory)}`))
    .join('; ');
}

function measured(row: DeviceRow, trans: TranslationBundle): string {
  const parts = [
    row.utilisation === null ? '' : `${Math.round(row.utilisation * 100)} %`,
    row.temperature === null ? '' : `${Math.round(row.temperature)} °C`,
    row.power === null ? '' : `${Math.round(row.power)} W`
  ];
  return parts.filter(Boolean).join(' · ') || trans.__('not measured');
}

export const Tile = memo(({ row, minutes }: { row: DeviceRow; minutes: number }) => {
  const { trans } = useBench();
  const memory =
    row.memory_total === null ? '' : trans.__('%1 of %2', bytes(row.memory_used ?? 0), bytes(row.memory_total));
  const { holder } = row;
  return (
    <li className="jp-lb-tile" data-state={row.state}>
      <div className="jp-lb-line">
        <span className="jp-lb-dot" aria-hidden="true" />
        <strong className="jp-lb-fixed">{row.label}</strong>
        <span className="jp-lb-cut jp-lb-dim" title={row.name}>
          {row.name}
        </span>
        {row.kind === 'simulated' && <span className="jp-lb-tag">{trans.__('simulated')}</span>}
      </div>
      <div className="jp-lb-line">
        <Sparkline label={row.label} history={row.history} minutes={minutes} />
        <span className="jp-lb-numbers">{measured(row, trans)}</span>
      </div>
      {memory && (
        <div className="jp-lb-line">
          <Bar
            role="meter"
            name={trans.__('Memory of %1', row.label)}
            share={share(row.memory_used, row.memory_total)}
            text={memory}
          />
          <span className="jp-lb-numbers">{memory}</span>
        </div>
      )}
      <div className="jp-lb-wrap">
        <span className="jp-lb-state">{stateText(row.state, trans)}</span>
        {holder && (
          <span>
            {' '}
            · {holder.allocation}, {holder.user}
            {holder.label && ` (${holder.label})`}
          </span>
        )}
        {holder?.since != null && (
          <span>
            {' '}
            · {trans.__('for')} <Ago since={holder.since} />
          </span>
        )}
      </div>
      {holder?.kept_by && <div className="jp-lb-wrap jp-lb-warn">{holder.kept_by}</div>}
      {row.state !== 'free' && (row.foreign.length > 0 || !row.processes_known) && (
        <div className="jp-lb-wrap jp-lb-warn">
          {row.processes_known && trans.__('Also here: ')}
          {foreignText(row, trans)}
        </div>
      )}
    </li>
  );
});

const KINDS = ['cuda', 'simulated', 'cpu'];

export function Devices({ active, table }: { active: boolean; table: boolean }): JSX.Element {
  const { bench, preferences, trans } = useBench();
  useSignal(preferences.changed);
  const { rows, version, ready, error } = useRows(bench.devices, active);
  const sorted = useMemo(
    () => [...rows.values()].sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) || a.index - b.index),
    [rows, version]
  );
  if (!ready) return <Pending error={error} />;
  if (!sorted.length)
    return (
      <Empty>
        {trans.__(
          'No devices. Without a GPU the cores of the host are used, and at least two must be free for it; lb.simulate_devices(8) makes some to try things with.'
        )}
      </Empty>
    );
  if (table) return <DeviceTable rows={sorted} minutes={preferences.span} />;
  return (
    <ul className="jp-lb-tiles" aria-label={trans.__('Devices')}>
      {sorted.map(row => (
        <Tile key={row.key} row={row} minutes={preferences.span} />
      ))}
    </ul>
  );
}
