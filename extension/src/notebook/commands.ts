/** Commands of the notebook; menus, toolbar and shortcuts stand in schema/plugin.json. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Notification, showErrorMessage } from '@jupyterlab/apputils';
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import type { Widget } from '@lumino/widgets';
import { CommandIDs, type IBench } from '../tokens';
import { EXPRESSIONS, type Introspection } from './answers';
import { askForDevices } from './asking';
import { Bystander } from './bystander';
import { insertAndRun } from './cells';
import { UNKNOWN_NAMES, attachCode, type Names } from '../shared/python';
import { devicesIcon, launchIcon } from '../shared/icons';
import type { DevicesItem } from './item';
import { Asker } from './kernel';
import { LaunchDialog } from './launchdialog';
import { LaunchModel } from './launchmodel';
import { NotebookCommandIDs } from './menu';
import { askWish } from './takedialog';

const PATIENCE = 3000; // milliseconds for which a kernel is asked what it knows before a cell is written without it

/** Whether the run's dashboard is opened after a launch. */
export type Afterwards = 'ask' | 'always' | 'never';

export interface NotebookTools {
  app: JupyterFrontEnd;
  bench: IBench;
  tracker: INotebookTracker;
  items: Map<NotebookPanel, DevicesItem>;
  translator: ITranslator;
  trans: TranslationBundle;
  afterwards: () => Afterwards;
}

/** The notebook that is meant, or the one in front. */
function panelOf({ tracker }: NotebookTools, args: ReadonlyPartialJSONObject): NotebookPanel | null {
  return (args.notebook ? tracker.find(panel => panel.id === args.notebook) : undefined) ?? tracker.currentWidget;
}

/** How to write code for a kernel; what is safe if it cannot be asked now. */
async function namesOf(panel: NotebookPanel, trans: TranslationBundle): Promise<Names> {
  const asker = new Asker(panel.sessionContext, trans);
  const late = new Promise<Names>(resolve => setTimeout(() => resolve(UNKNOWN_NAMES), asker.busy ? 0 : PATIENCE));
  try {
    return await Promise.race([asker.ask<Introspection>(EXPRESSIONS.introspect()).then(found => found.names), late]);
  } catch {
    return UNKNOWN_NAMES;
  } finally {
    asker.dispose();
  }
}

/** Make an allocation known in the kernel by a cell. */
async function useAllocation(
  tools: NotebookTools,
  panel: NotebookPanel,
  name: string,
  activate: boolean
): Promise<void> {
  const code = attachCode(name, await namesOf(panel, tools.trans));
  await insertAndRun(panel, code, { translator: tools.translator, activate });
}

/** From the wish to the cell. */
async function takeDevices(tools: NotebookTools, panel: NotebookPanel): Promise<void> {
  const { bench, trans } = tools;
  const wish = await askWish(bench, trans);
  if (!wish) return;
  const kernel = panel.sessionContext.session?.kernel?.id;
  try {
    const ending = await askForDevices(bench, { ...wish, ...(kernel ? { kernel } : {}) });
    if (ending.state === 'failed') await showErrorMessage(trans.__('No Devices'), ending.text);
    else if (ending.state === 'granted' && !panel.isDisposed)
      await useAllocation(tools, panel, ending.allocation, false);
  } catch (error) {
    await showErrorMessage(trans.__('No Devices'), (error as Error).message);
  }
}

/** The dialog; the cell, or null if it was given up. */
async function askLaunch(
  { bench, trans, items }: NotebookTools,
  panel: NotebookPanel
): Promise<{ code: string; run: string } | null> {
  const watch = new Bystander(bench, panel.sessionContext, items.get(panel)?.seen);
  const devices = bench.devices();
  const around = (): { state: Bystander['state']; devices: { kind: string }[] } => ({
    state: watch.state,
    devices: [...devices.rows.values()]
  });
  const model = new LaunchModel(new Asker(panel.sessionContext, trans), around(), trans);
  const refresh = (): void => model.surround(around());
  watch.changed.connect(refresh);
  devices.changed.connect(refresh);
  try {
    const code = await new LaunchDialog(model, trans).ask();
    return code === null ? null : { code, run: model.found!.names.run };
  } finally {
    watch.dispose();
    devices.changed.disconnect(refresh);
    devices.dispose();
    model.dispose();
  }
}

/** The dialog is over when the cell is there; the cell may wait for devices long after that. */
async function launch(tools: NotebookTools, panel: NotebookPanel): Promise<void> {
  const chosen = await askLaunch(tools, panel);
  if (!chosen || panel.isDisposed) return;
  void insertAndRun(panel, chosen.code, { translator: tools.translator }).then(ran =>
    ran ? offerDashboard(tools, panel, chosen.run) : undefined
  );
}

/** The run's own page: opened, or one click away. */
async function offerDashboard(
  { app, trans, afterwards }: NotebookTools,
  panel: NotebookPanel,
  variable: string
): Promise<void> {
  const how = afterwards();
  if (how === 'never' || panel.isDisposed || !app.commands.hasCommand(CommandIDs.openRun)) return;
  const asker = new Asker(panel.sessionContext, trans);
  const { run } = await asker
    .ask<{ run: string | null }>(EXPRESSIONS.begun(variable))
    .catch(() => ({ run: null }))
    .finally(() => asker.dispose());
  if (!run) return;
  const open = (): Promise<Widget | undefined> => app.commands.execute(CommandIDs.openRun, { run });
  if (how === 'always') return beside(app, panel, await open());
  Notification.info(trans.__('Run %1 has begun.', run), {
    autoClose: 10_000,
    actions: [
      {
        label: trans.__('Open dashboard'),
        caption: trans.__('Its curves, logs and devices'),
        displayType: 'accent',
        callback: () => void open()
      }
    ]
  });
}

/** Where there is room for two: not in Notebook 7, whose window holds one document. */
function beside({ shell }: JupyterFrontEnd, panel: NotebookPanel, widget: Widget | undefined): void {
  if (!widget || !('mode' in shell) || shell.mode !== 'multiple-document') return;
  shell.add(widget, 'main', { mode: 'split-right', ref: panel.id, activate: false });
  shell.activateById(panel.id);
}

export function addNotebookCommands(tools: NotebookTools): void {
  const {
    app: { commands },
    bench,
    tracker,
    items,
    trans
  } = tools;
  const isEnabled = (): boolean => tracker.currentWidget !== null;
  const open = new Set<NotebookPanel>(); // one dialog at a time: a second click opens no second one
  const once = (
    args: ReadonlyPartialJSONObject,
    work: (panel: NotebookPanel) => Promise<void>
  ): Promise<void> | undefined => {
    const panel = panelOf(tools, args);
    if (!panel || open.has(panel)) return undefined;
    open.add(panel);
    return work(panel).finally(() => open.delete(panel));
  };

  commands.addCommand(CommandIDs.launch, {
    label: args => (args.toolbar ? '' : trans.__('Launch Function…')),
    caption: trans.__('Run a function of this notebook on its devices, by a form'),
    icon: launchIcon,
    isEnabled,
    execute: args => once(args, panel => launch(tools, panel))
  });
  commands.addCommand(NotebookCommandIDs.take, {
    label: trans.__('Take Devices…'),
    caption: trans.__('Take devices for this notebook'),
    icon: devicesIcon,
    isEnabled: () => isEnabled() && bench.connected,
    execute: args => {
      const panel = panelOf(tools, args);
      if (panel) void takeDevices(tools, panel); // it may wait for days
    }
  });
  commands.addCommand(NotebookCommandIDs.use, {
    label: args =>
      args.allocation
        ? trans.__('Use %1 in a New Cell', String(args.allocation))
        : trans.__('Use an Allocation in a New Cell'),
    caption: trans.__('Insert and run a cell that attaches to it'),
    isEnabled: args => isEnabled() && !!args.allocation,
    execute: args => {
      const panel = panelOf(tools, args);
      return panel ? useAllocation(tools, panel, String(args.allocation), true) : undefined;
    }
  });
  commands.addCommand(NotebookCommandIDs.menu, {
    label: trans.__('Devices of This Notebook…'),
    caption: trans.__('What this notebook holds, and what can be done with it'),
    icon: devicesIcon,
    isEnabled,
    execute: args => {
      const panel = panelOf(tools, args);
      if (panel) items.get(panel)?.open();
    }
  });
  commands.addCommand(NotebookCommandIDs.notebookAction, {
    label: args => String(args.text ?? ''),
    icon: args => (known(args) ? commands.icon(String(args.command), inner(args)) : undefined),
    isEnabled: args => known(args) && commands.isEnabled(String(args.command), inner(args)),
    isVisible: known,
    execute: args => commands.execute(String(args.command), inner(args))
  });
  function known(args: ReadonlyPartialJSONObject): boolean {
    return commands.hasCommand(String(args.command ?? ''));
  }
  tracker.currentChanged.connect(() =>
    [CommandIDs.launch, NotebookCommandIDs.take, NotebookCommandIDs.menu].forEach(id =>
      commands.notifyCommandChanged(id)
    )
  );
}

function inner(args: ReadonlyPartialJSONObject): ReadonlyPartialJSONObject {
  return (args.args ?? {}) as ReadonlyPartialJSONObject;
}
