/** A cell that a click has made: below the active one, run, and there to be run again. */
import { NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';
import type { ITranslator } from '@jupyterlab/translation';

interface Options {
  translator?: ITranslator;
  activate?: boolean; // the new cell becomes the active one: not while somebody types elsewhere
}

/** True when it ran without an error. */
export async function insertAndRun(
  panel: NotebookPanel,
  source: string,
  { translator, activate = true }: Options = {}
): Promise<boolean> {
  const { content: notebook, sessionContext } = panel;
  if (panel.isDisposed || !notebook.model) return false;
  const index = notebook.widgets.length ? notebook.activeCellIndex + 1 : 0;
  notebook.model.sharedModel.insertCell(index, { cell_type: 'code', source, metadata: { trusted: true } });
  const cell = notebook.widgets[index];
  if (activate) {
    notebook.activeCellIndex = index;
    notebook.deselectAll();
    void notebook.scrollToItem(index, 'smart').catch(() => undefined);
  }
  return NotebookActions.runCells(notebook, [cell], sessionContext, undefined, translator);
}
