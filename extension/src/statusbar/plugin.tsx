/** Devices held and runs going, in the status bar; a click opens the sidebar. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import { useRows } from '../shared/hooks';
import { benchIcon } from '../shared/icons';
import { CommandIDs, DOMAIN, IBench } from '../tokens';
import { summarize } from './summary';

function Item({ bench, trans, open }: { bench: IBench; trans: TranslationBundle; open: () => void }): JSX.Element {
  const devices = useRows(bench.devices, true);
  const allocations = useRows(bench.allocations, true);
  const { held, all, runs } = summarize(devices.rows.values(), allocations.rows.values());
  const said = `${trans._n('%2 of %1 device held', '%2 of %1 devices held', all, held)}, ${trans._n('%1 run going on', '%1 runs going on', runs)}`;
  return (
    <button
      type="button"
      className="jp-lb-status"
      title={`${said}\n${trans.__('Click to show the bench')}`}
      aria-label={said}
      onClick={open}
    >
      <benchIcon.react tag="span" width="16px" height="16px" />
      <span>
        {devices.ready ? `${held}/${all}` : '…'}
        {runs > 0 && ` · ${trans._n('%1 run', '%1 runs', runs)}`}
      </span>
    </button>
  );
}

export const statusbarPlugin: JupyterFrontEndPlugin<void> = {
  id: 'lepton-bench:statusbar',
  description: 'Devices held and runs going, in the status bar.',
  autoStart: true,
  requires: [IBench],
  optional: [IStatusBar, ITranslator],
  activate: ({ commands }: JupyterFrontEnd, bench: IBench, bar: IStatusBar | null, translator: ITranslator | null) => {
    if (!bar) return;
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const item = ReactWidget.create(
      <Item bench={bench} trans={trans} open={() => void commands.execute(CommandIDs.openSidebar)} />
    );
    bar.registerStatusItem(statusbarPlugin.id, {
      item,
      align: 'left',
      rank: 90,
      isActive: () => bench.connected,
      activeStateChanged: bench.connectionChanged
    });
  }
};
