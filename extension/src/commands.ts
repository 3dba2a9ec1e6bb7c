/** Every action is a command; menus, context menus and shortcuts stand in schema/plugin.json. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { addAllocationCommands } from './commands/allocations';
import { addAttach } from './commands/attach';
import { Once } from './commands/once';
import { addRunCommands } from './commands/runs';
import { addSweepCommands } from './commands/sweeps';
import { addOnTarget } from './commands/target';
import { CommandIDs, DOMAIN, IBench, IPreferences } from './tokens';

/** Those that make sense without a place that was clicked. */
const IN_PALETTE = [
  CommandIDs.openSidebar,
  CommandIDs.allocate,
  CommandIDs.release,
  CommandIDs.restart,
  CommandIDs.attach,
  CommandIDs.openRun,
  CommandIDs.stopRun,
  CommandIDs.resumeRun,
  CommandIDs.removeRun,
  CommandIDs.launch,
  CommandIDs.runHeadless,
  CommandIDs.devicesTable
];

export const commandsPlugin: JupyterFrontEndPlugin<void> = {
  id: 'lepton-bench:commands',
  description: 'Commands of lepton_bench.',
  autoStart: true,
  requires: [IBench, IPreferences],
  optional: [ITranslator, ICommandPalette, INotebookTracker],
  activate: (
    app: JupyterFrontEnd,
    bench: IBench,
    preferences: IPreferences,
    translator: ITranslator | null,
    palette: ICommandPalette | null,
    notebooks: INotebookTracker | null
  ) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const tools = { commands: app.commands, bench, preferences, trans, once: new Once() };
    addAllocationCommands(tools);
    addRunCommands(tools);
    addSweepCommands(tools, app.serviceManager.contents);
    if (notebooks) addAttach(tools, notebooks);
    addOnTarget(app);
    for (const command of IN_PALETTE) palette?.addItem({ command, category: trans.__('Bench') });
  }
};
