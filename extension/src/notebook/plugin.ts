/** The notebook. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IBench } from '../tokens';

export const notebookPlugin: JupyterFrontEndPlugin<void> = {
  id: 'lepton-bench:notebook',
  description: 'The notebook of lepton_bench.',
  autoStart: true,
  requires: [IBench],
  activate: (_: JupyterFrontEnd, bench: IBench): void => void bench
};
