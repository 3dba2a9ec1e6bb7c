/** The dashboard. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IBench } from '../tokens';

export const dashboardPlugin: JupyterFrontEndPlugin<void> = {
  id: 'lepton-bench:dashboard',
  description: 'The dashboard of lepton_bench.',
  autoStart: true,
  requires: [IBench],
  activate: (_: JupyterFrontEnd, bench: IBench): void => void bench
};
