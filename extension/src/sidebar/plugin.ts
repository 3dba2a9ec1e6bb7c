/** The sidebar. */
import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IStateDB } from '@jupyterlab/statedb';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { tableRowsIcon, addIcon } from '@jupyterlab/ui-components';
import type { ReadonlyJSONObject } from '@lumino/coreutils';
import { CommandIDs, DOMAIN, IBench, IPreferences } from '../tokens';
import { AllocateForm } from './form';
import { benchIcon } from '../shared/icons';
import { BenchSidebar, type Layout } from './panel';

const KEY = 'lepton-bench:sidebar';

/** Sections as they were, and kept as they will be. */
async function keepLayout(sidebar: BenchSidebar, state: IStateDB): Promise<void> {
  try {
    const found = (await state.fetch(KEY)) as unknown as Layout | undefined;
    if (found) sidebar.load(found);
  } catch (error) {
    console.warn('lepton_bench: the layout of the sidebar is lost', error);
  }
  sidebar.layoutChanged.connect(() => void state.save(KEY, sidebar.save() as unknown as ReadonlyJSONObject));
}

export const sidebarPlugin: JupyterFrontEndPlugin<void> = {
  id: 'lepton-bench:sidebar',
  description: 'The sidebar of lepton_bench.',
  autoStart: true,
  requires: [IBench, IPreferences],
  optional: [ITranslator, ILayoutRestorer, IStateDB],
  activate: (
    app: JupyterFrontEnd,
    bench: IBench,
    preferences: IPreferences,
    translator: ITranslator | null,
    restorer: ILayoutRestorer | null,
    state: IStateDB | null
  ) => {
    const { commands, shell } = app;
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const form = new AllocateForm(bench, () => preferences.count);
    let sidebar: BenchSidebar | null = null; // its toolbars want the commands

    commands.addCommand(CommandIDs.openSidebar, {
      label: trans.__('Show Bench'),
      caption: trans.__('Show devices, allocations and runs'),
      icon: benchIcon,
      execute: () => shell.activateById(sidebar!.id)
    });
    commands.addCommand(CommandIDs.allocate, {
      label: trans.__('Allocate Devices…'),
      caption: trans.__('Take devices and start ranks on them'),
      icon: addIcon,
      isEnabled: () => bench.connected,
      execute: args => {
        shell.activateById(sidebar!.id);
        sidebar!.expand(1);
        form.open(args.kernel ? { id: String(args.kernel), label: String(args.label ?? args.kernel) } : null);
      }
    });
    commands.addCommand(CommandIDs.devicesTable, {
      label: trans.__('Devices as a Table'),
      caption: trans.__('Show the numbers behind the tiles'),
      icon: tableRowsIcon,
      isToggleable: true,
      isToggled: () => !!sidebar?.table,
      execute: () => {
        sidebar!.table = !sidebar!.table;
        commands.notifyCommandChanged(CommandIDs.devicesTable);
      }
    });
    commands.addCommand(CommandIDs.revealRun, {
      label: trans.__('Show the Run in the Sidebar'),
      isEnabled: args => !!args.run,
      execute: args => {
        shell.activateById(sidebar!.id);
        sidebar!.reveal(String(args.run));
      }
    });
    bench.connectionChanged.connect(() => commands.notifyCommandChanged());

    sidebar = new BenchSidebar({ bench, commands, preferences, trans, form }, translator ?? nullTranslator);
    restorer?.add(sidebar, sidebar.id);
    shell.add(sidebar, 'left', { rank: 450, type: 'Bench' });
    if (state) void keepLayout(sidebar, state).then(() => commands.notifyCommandChanged(CommandIDs.devicesTable));
  }
};
