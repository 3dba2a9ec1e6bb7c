/** The dashboard: one widget in the main area per run, back after a reload. */
import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, InputDialog, showDialog, WidgetTracker } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import { SplitPanel } from '@lumino/widgets';
import { CommandIDs, DOMAIN, IBench, type RunRow } from '../tokens';
import { RunDashboard } from './dashboard';
import { statusText } from '../shared/runs';
import { runIcon } from './icons';

export const dashboardPlugin: JupyterFrontEndPlugin<void> = {
  id: 'lepton-bench:dashboard',
  description: 'The dashboard of a run.',
  autoStart: true,
  requires: [IBench],
  optional: [ITranslator, ILayoutRestorer],
  activate: (
    app: JupyterFrontEnd,
    bench: IBench,
    translator: ITranslator | null,
    restorer: ILayoutRestorer | null
  ): void => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const tracker = new WidgetTracker<RunDashboard>({ namespace: 'lepton-bench-run' });
    app.commands.addCommand(CommandIDs.openRun, {
      label: args => (args.run ? trans.__('Open Run') : trans.__('Open Run…')),
      caption: trans.__('Plots, logs and facts of a run'),
      icon: runIcon,
      describedBy: {
        args: {
          type: 'object',
          properties: {
            run: { type: 'string', description: trans.__('The id of the run') },
            page: { type: 'number', description: trans.__('Which tab is shown') }
          }
        }
      },
      execute: async args => {
        const run = (args.run as string | undefined) || (await chooseRun(bench, trans));
        if (!run) return undefined;
        const known = tracker.find(widget => widget.run === run);
        const widget =
          known ?? new RunDashboard(bench, run, app.commands, trans, () => performance.mark('lepton-bench:drawn'));
        if (!known) {
          if (typeof args.page === 'number') widget.page = args.page;
          await tracker.add(widget);
          widget.bar.currentChanged.connect(() => void tracker.save(widget));
        }
        if (!widget.isAttached) place(app, widget);
        app.shell.activateById(widget.id);
        return widget;
      }
    });
    if (restorer)
      void restorer.restore(tracker, {
        command: CommandIDs.openRun,
        args: widget => ({ run: widget.run, page: widget.page }),
        name: widget => widget.run
      });
  }
};

/** The main area; where that takes one widget only, as in Notebook 7, the area below. */
function place(app: JupyterFrontEnd, widget: RunDashboard): void {
  app.shell.add(widget, 'main');
  if (widget.isAttached) return;
  app.shell.add(widget, 'down');
  for (let parent = widget.parent; parent; parent = parent.parent) {
    // it begins without any height
    if (parent instanceof SplitPanel && parent.orientation === 'vertical') parent.setRelativeSizes([2, 3]);
  }
}

/** Ask which of the newest runs. */
async function chooseRun(bench: IBench, trans: TranslationBundle): Promise<string | undefined> {
  const table = bench.runs();
  try {
    await new Promise<void>(done => {
      if (table.ready) return done();
      table.changed.connect(() => done());
      setTimeout(done, 3000);
    });
    const rows: RunRow[] = [...table.rows.values()].sort((a, b) => b.created - a.created).slice(0, 200);
    const items = rows.map(row => `${row.id}  ${row.name}  (${statusText(row.status, trans)})`);
    if (!items.length) {
      await showDialog({
        title: trans.__('Open Run'),
        body: bench.problem || trans.__('There is no run yet. A launch makes one.'),
        buttons: [Dialog.okButton()]
      });
      return undefined;
    }
    const chosen = await InputDialog.getItem({
      title: trans.__('Open Run'),
      label: trans.__('Run'),
      items,
      okLabel: trans.__('Open')
    });
    return chosen.button.accept && chosen.value ? rows[items.indexOf(chosen.value)]?.id : undefined;
  } finally {
    table.dispose();
  }
}
