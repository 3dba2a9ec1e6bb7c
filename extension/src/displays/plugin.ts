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
      const outputs = new Map<string, RunOutput>();
      const displays: Displays = new Displays(panel, mark => {
        outputs.get(mark.display)?.dispose();
        outputs.set(
          mark.display,
          new RunOutput(bench, mark, (data, metadata) => displays.update(mark.display, data, metadata))
        );
      });
      panel.disposed.connect(() => outputs.forEach(output => output.dispose()));
    });
  }
};
