/** What a notebook missed while no page was open. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IBench } from '../tokens';
import { Displays } from './notebook';
import { RunOutput } from './run';

export const displaysPlugin: JupyterFrontEndPlugin<void> = {
  id: 'lepton-bench:displays',
  description: 'Brings the outputs of runs up to date when a notebook is opened again.',
  autoStart: true,
  requires: [INotebookTracker, IBench],
  activate: (_: JupyterFrontEnd, notebooks: INotebookTracker, bench: IBench): void => {
    notebooks.widgetAdded.connect((_, panel) => {
      const displays: Displays = new Displays(panel, mark => {
        const output = new RunOutput(bench, mark, (data, metadata) => displays.update(mark.display, data, metadata));
        panel.disposed.connect(() => output.dispose());
      });
    });
  }
};
