/** What headless runs have besides: the notebook that was written, and once more what has failed. */
import { Dialog, Notification } from '@jupyterlab/apputils';
import type { Contents } from '@jupyterlab/services';
import { notebookIcon, refreshIcon } from '@jupyterlab/ui-components';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { SteadyDialog } from '../dialog';
import { RequestError } from '../request';
import { going } from '../shared/runs';
import { CommandIDs, type Changed, type Status } from '../tokens';
import type { Tools } from './once';

export function addSweepCommands(tools: Tools, contents: Pick<Contents.IManager, 'get'>): void {
  const { commands, bench, trans, once } = tools;

  /** Whether the file browser has it. */
  const there = (path: string): Promise<boolean> =>
    contents.get(path, { content: false }).then(
      () => true,
      () => false
    );

  const open = async ({ run, output }: ReadonlyPartialJSONObject): Promise<unknown> => {
    const path = String(output ?? '');
    if (path && commands.hasCommand('docmanager:open') && (await there(path)))
      return commands.execute('docmanager:open', { path });
    if (path)
      Notification.info(
        trans.__('%1 is not there: it has not been written yet, or has been deleted. Here is its run.', path),
        { autoClose: 8000 }
      );
    return commands.hasCommand(CommandIDs.openRun)
      ? commands.execute(CommandIDs.openRun, { run: String(run) })
      : undefined;
  };

  commands.addCommand(CommandIDs.openOutput, {
    label: trans.__('Open Output Notebook'),
    caption: trans.__('The notebook as it was executed'),
    icon: notebookIcon,
    isVisible: args => args.kind === undefined || args.kind === 'notebook',
    isEnabled: args => !!args.run,
    execute: args =>
      once.run(`open ${String(args.run)}`, async () => {
        await open(args);
      })
  });

  /** The code is another one than that of the sets that are done. */
  const askChanged = async (message: string): Promise<Changed | null> => {
    const body = trans.__(
      '%1. Keep their results and run only the others, or run all of them with the new code?',
      message
    );
    const buttons = [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.okButton({ label: trans.__('Run All Again') }),
      Dialog.okButton({ label: trans.__('Keep Results') })
    ];
    const { button } = await new SteadyDialog({ title: trans.__('The Notebook Has Changed'), body, buttons }).launch();
    return button.accept ? (button.label === buttons[2].label ? 'keep' : 'again') : null;
  };

  commands.addCommand(CommandIDs.sweepAgain, {
    label: trans.__('Run Again What Is Not Done'),
    caption: trans.__('The sets of the sweep that have failed, were stopped or did not begin'),
    icon: refreshIcon,
    isVisible: args => args.kind === 'sweep',
    isEnabled: args => bench.connected && !!args.run && !(args.status && going(args.status as Status)),
    execute: args =>
      once.run(`again ${String(args.run)}`, async () => {
        const run = String(args.run);
        try {
          await bench.sweepAgain(run);
        } catch (error) {
          if (!(error instanceof RequestError) || error.type !== 'NotebookChanged') throw error;
          const changed = await askChanged(error.message);
          if (!changed) return false;
          await bench.sweepAgain(run, changed);
        }
        return true;
      })
  });
}
