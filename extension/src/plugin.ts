/** The model, once per page. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { BenchModel } from './model';
import { IBench } from './tokens';

export const modelPlugin: JupyterFrontEndPlugin<IBench> = {
  id: 'lepton-bench:model',
  description: 'Devices, allocations and runs of lepton_bench.',
  autoStart: true,
  provides: IBench,
  activate: (_: JupyterFrontEnd): IBench => {
    const model = new BenchModel();
    window.addEventListener('online', () => model.retry());
    document.addEventListener('visibilitychange', () => document.hidden || model.retry());
    return model;
  }
};
