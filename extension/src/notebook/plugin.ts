/** The notebook: its devices in the toolbar, its functions in a dialog. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, IToolbarWidgetRegistry } from '@jupyterlab/apputils';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { DOMAIN, IBench } from '../tokens';
import { addNotebookCommands, type Afterwards } from './commands';
import { DevicesItem } from './item';
import { NotebookCommandIDs } from './menu';

const SETTINGS = 'lepton-bench:plugin';

/** What the settings say of the time after a launch, as it changes. */
function followSetting(registry: ISettingRegistry | null): () => Afterwards {
  let value: Afterwards = 'ask';
  void registry
    ?.load(SETTINGS)
    .then(settings => {
      const read = (): void => {
        value = (settings.get('openDashboard').composite as Afterwards | undefined) ?? 'ask';
      };
      settings.changed.connect(read);
      read();
    })
    .catch(() => undefined); // no such settings: as it is
  return () => value;
}

export const notebookPlugin: JupyterFrontEndPlugin<void> = {
  id: 'lepton-bench:notebook',
  description: 'A notebook’s devices in its toolbar, and the launch dialog.',
  autoStart: true,
  requires: [IBench, INotebookTracker],
  optional: [ITranslator, IToolbarWidgetRegistry, ICommandPalette, ISettingRegistry],
  activate: (
    app: JupyterFrontEnd,
    bench: IBench,
    tracker: INotebookTracker,
    given: ITranslator | null,
    toolbars: IToolbarWidgetRegistry | null,
    palette: ICommandPalette | null,
    settings: ISettingRegistry | null
  ): void => {
    const translator = given ?? nullTranslator;
    const trans = translator.load(DOMAIN);
    const items = new Map<NotebookPanel, DevicesItem>();
    addNotebookCommands({ app, bench, tracker, items, translator, trans, afterwards: followSetting(settings) });
    toolbars?.addFactory<NotebookPanel>('Notebook', 'lepton-bench-devices', panel => {
      const item = new DevicesItem(panel, bench, app.commands, trans);
      items.set(panel, item);
      item.disposed.connect(() => items.delete(panel));
      return item;
    });
    for (const command of [NotebookCommandIDs.take, NotebookCommandIDs.menu])
      palette?.addItem({ command, category: trans.__('Bench') });
  }
};
