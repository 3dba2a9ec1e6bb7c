/** The sidebar. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IBench } from '../tokens';

export const sidebarPlugin: JupyterFrontEndPlugin<void> = {
  id: 'lepton-bench:sidebar',
  description: 'The sidebar of lepton_bench.',
  autoStart: true,
  requires: [IBench],
  activate: (_: JupyterFrontEnd, bench: IBench): void => void bench
};
