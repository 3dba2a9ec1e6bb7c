/** The devices of one run: what they are, how busy they are now, and how busy they were. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import { Panel } from '@lumino/widgets';
import type * as React from 'react';
import type { DeviceRow, IBench, ITable, RunDetail } from '../tokens';
import { PlotsPage } from './plots';
import { bytesText } from './texts';

/** What is known of a device now; of one that is not on this host there is nothing but its name. */
function Device({
  id,
  rank,
  row,
  trans
}: {
  id: string;
  rank: number;
  row: DeviceRow | undefined;
  trans: TranslationBundle;
}): React.JSX.Element {
  const percent =
    row?.utilisation === null || row?.utilisation === undefined ? '–' : `${Math.round(100 * row.utilisation)} %`;
  const memory = row?.memory_total
    ? `${row.memory_used === null ? '–' : bytesText(row.memory_used)} / ${bytesText(row.memory_total)}`
    : '–';
  const foreign = row?.foreign.map(p => `${p.name} (${p.user}, ${p.pid})`).join(', ');
  return (
    <tr>
      <td>{rank}</td>
      <td title={id}>
        {row ? `${row.label} ${row.name}` : id}
        {row?.kind === 'simulated' && ` (${trans.__('simulated')})`}
      </td>
      <td>{percent}</td>
      <td>{memory}</td>
      <td>{row?.temperature === null || row?.temperature === undefined ? '–' : `${row.temperature} °C`}</td>
      <td>
        {row
          ? row.state + (row.holder ? ` · ${row.holder.user}, ${row.holder.label || row.holder.allocation}` : '')
          : '–'}
        {foreign && ` · ${trans.__('also there')}: ${foreign}`}
      </td>
    </tr>
  );
}

export function Devices({
  run,
  rows,
  trans
}: {
  run: RunDetail;
  rows: ReadonlyMap<string, DeviceRow>;
  trans: TranslationBundle;
}): React.JSX.Element {
  if (!run.devices.length) return <p className="jp-lb-empty">{trans.__('No device is known of this run yet.')}</p>;
  const heads = [
    trans.__('rank'),
    trans.__('device'),
    trans.__('busy now'),
    trans.__('memory now'),
    trans.__('temperature'),
    trans.__('who')
  ];
  const find = (id: string): DeviceRow | undefined => rows.get(id) ?? [...rows.values()].find(r => r.id === id);
  return (
    <table className="jp-lb-Table jp-lb-mod-wide">
      <thead>
        <tr>
          {heads.map(h => (
            <th key={h} scope="col">
              {h}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {run.devices.map((id, rank) => (
          <Device key={id} id={id} rank={rank} row={find(id)} trans={trans} />
        ))}
      </tbody>
    </table>
  );
}

class DeviceList extends ReactWidget {
  private table: ITable<DeviceRow> | null = null;
  run: RunDetail | null = null;

  constructor(
    private readonly bench: IBench,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-lb-Devices-list');
  }

  /** Rows are asked for while somebody looks. */
  watch(on: boolean): void {
    if (on && !this.table) {
      this.table = this.bench.devices();
      this.table.changed.connect(() => this.update());
    } else if (!on) {
      this.table?.dispose();
      this.table = null;
    }
    this.update();
  }

  protected render(): React.JSX.Element | null {
    return (
      this.run && <Devices run={this.run} rows={this.table?.rows ?? new Map<string, DeviceRow>()} trans={this.trans} />
    );
  }

  dispose(): void {
    this.table?.dispose();
    super.dispose();
  }
}

export class DevicesPage extends Panel {
  private readonly list: DeviceList;
  readonly plots: PlotsPage;

  constructor(bench: IBench, run: string, trans: TranslationBundle) {
    super();
    this.addClass('jp-lb-Devices');
    this.list = new DeviceList(bench, trans);
    this.plots = new PlotsPage(bench, run, trans, {
      system: true,
      options: { x: 'time', ranks: 'lines' },
      empty: trans.__('The system has not been measured yet: that begins a few seconds after the start.')
    });
    this.addWidget(this.list);
    this.addWidget(this.plots);
  }

  set(run: RunDetail): void {
    this.list.run = run;
    if (this.isVisible) this.list.update();
  }

  /** Put into the page while it is the page in front: nobody says that it is shown. */
  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    if (this.isVisible) this.onAfterShow(message);
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.list.watch(true);
  }

  protected onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.list.watch(false);
  }
}
