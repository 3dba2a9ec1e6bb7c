/** The numbers behind the tiles. */
import { memo } from 'react';
import type { DeviceRow } from '../tokens';
import { useBench } from './context';
import { foreignText, stateText } from './devices';
import { bytes } from '../shared/format';
import { lastMinutes, summary } from './history';

const Line = memo(({ row, minutes }: { row: DeviceRow; minutes: number }) => {
  const { trans } = useBench();
  const { mean, most } = summary(lastMinutes(row.history, minutes));
  const round = (x: number | null): string => (x === null ? '–' : String(Math.round(x)));
  return (
    <tr>
      <th scope="row">{row.label}</th>
      <td>{row.name}</td>
      <td>{stateText(row.state, trans)}</td>
      <td>{row.holder ? `${row.holder.allocation}, ${row.holder.user}` : ''}</td>
      <td>{row.utilisation === null ? '–' : round(row.utilisation * 100)}</td>
      <td>{round(mean)}</td>
      <td>{round(most)}</td>
      <td>{row.memory_used === null ? '–' : bytes(row.memory_used)}</td>
      <td>{row.memory_total === null ? '–' : bytes(row.memory_total)}</td>
      <td>{round(row.temperature)}</td>
      <td>{round(row.power)}</td>
      <td>{row.foreign.length ? foreignText(row, trans) : ''}</td>
    </tr>
  );
});

export function DeviceTable({ rows, minutes }: { rows: DeviceRow[]; minutes: number }): JSX.Element {
  const { trans } = useBench();
  const heads = [
    trans.__('Device'),
    trans.__('Name'),
    trans.__('State'),
    trans.__('Held by'),
    trans.__('Use %'),
    trans.__('Mean % of %1 min', minutes),
    trans.__('Most %'),
    trans.__('Memory'),
    trans.__('of'),
    trans.__('°C'),
    trans.__('W'),
    trans.__('Others')
  ];
  return (
    <div className="jp-lb-scroll" role="region" tabIndex={0} aria-label={trans.__('Devices as a table')}>
      <table className="jp-lb-table">
        <thead>
          <tr>
            {heads.map(head => (
              <th scope="col" key={head}>
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(row => (
            <Line key={row.key} row={row} minutes={minutes} />
          ))}
        </tbody>
      </table>
    </div>
  );
}
