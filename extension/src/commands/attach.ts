/** An allocation for the notebook in front: a cell that can be run again. */
import { NotebookActions, type INotebookTracker } from '@jupyterlab/notebook';
import { linkIcon } from '@jupyterlab/ui-components';
import { CommandIDs } from '../tokens';
import { findAllocation } from './allocations';
import type { Tools } from './once';

export function addAttach(tools: Tools, notebooks: INotebookTracker): void {
  const { commands, bench, trans, once } = tools;
  commands.addCommand(CommandIDs.attach, {
    label: args => (args.allocation ? trans.__('Attach to Notebook') : trans.__('Attach Allocation to Notebook…')),
    caption: trans.__('Insert and run a cell in the current notebook that attaches to an allocation'),
    icon: linkIcon,
    isEnabled: () => bench.connected && notebooks.currentWidget !== null,
    execute: args =>
      once.run('attach', async () => {
        const row = await findAllocation(tools, args, trans.__('Attach to which allocation?'));
        const panel = notebooks.currentWidget;
        if (!row || !panel) return false;
        const { content, sessionContext } = panel;
        NotebookActions.insertBelow(content);
        content.activeCell!.model.sharedModel.setSource(
          `import lepton_bench as lb\nalloc = lb.attach(${JSON.stringify(row.name)})\nalloc`
        );
        return NotebookActions.run(content, sessionContext);
      })
  });
  notebooks.currentChanged.connect(() => commands.notifyCommandChanged(CommandIDs.attach));
}
