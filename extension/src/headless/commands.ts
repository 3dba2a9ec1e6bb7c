/** “Run Headless…” for the notebook in front. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import { headlessIcon } from '../shared/icons';
import { CommandIDs, type IBench } from '../tokens';
import { HeadlessDialog } from './dialog';
import { HeadlessModel, type Document } from './model';

const TAG = 'parameters';

interface HeadlessTools {
  app: JupyterFrontEnd;
  bench: IBench;
  tracker: INotebookTracker;
  trans: TranslationBundle;
}

/** The notebook as the dialog needs it. */
function documentOf({ context, content, model }: NotebookPanel, app: JupyterFrontEnd): Document {
  const active = (): NotebookPanel['content']['activeCell'] =>
    content.activeCell?.model.type === 'code' ? content.activeCell : null;
  return {
    path: () => app.serviceManager.contents.localPath(context.path),
    save: async () => {
      if (model?.dirty) await context.save();
    },
    cell: () => active()?.model.sharedModel.getSource().split('\n').slice(0, 4).join('\n') ?? null,
    tag: () => {
      const cell = active()?.model;
      const tags = (cell?.getMetadata('tags') as string[] | undefined) ?? [];
      cell?.setMetadata('tags', [...tags.filter(tag => tag !== TAG), TAG]);
    }
  };
}

/** From the dialog to the row in the sidebar. */
async function runHeadless({ app, bench, trans }: HeadlessTools, panel: NotebookPanel): Promise<void> {
  const devices = bench.devices();
  const model = new HeadlessModel(documentOf(panel, app), bench, () => devices.rows.size, trans);
  const emit = (): void => model.emit();
  devices.changed.connect(emit);
  try {
    const run = await new HeadlessDialog(model, trans).ask();
    if (run !== null && app.commands.hasCommand(CommandIDs.revealRun))
      await app.commands.execute(CommandIDs.revealRun, { run });
  } finally {
    devices.changed.disconnect(emit);
    devices.dispose();
    model.dispose();
  }
}

export function addHeadlessCommand(tools: HeadlessTools): void {
  const {
    app: { commands },
    bench,
    tracker,
    trans
  } = tools;
  const open = new Set<NotebookPanel>(); // one dialog at a time
  commands.addCommand(CommandIDs.runHeadless, {
    label: args => (args.toolbar ? '' : trans.__('Run Headless…')),
    caption: trans.__('Run this notebook without a page: once, or over many parameters'),
    icon: headlessIcon,
    isEnabled: () => tracker.currentWidget !== null && bench.connected,
    execute: async () => {
      const panel = tracker.currentWidget;
      if (!panel || open.has(panel)) return;
      open.add(panel);
      await runHeadless(tools, panel).finally(() => open.delete(panel));
    }
  });
  const notify = (): void => commands.notifyCommandChanged(CommandIDs.runHeadless);
  tracker.currentChanged.connect(notify);
  bench.connectionChanged.connect(notify);
}
