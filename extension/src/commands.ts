/** Every action is a command; menus, toolbars and shortcuts stand in schema/plugin.json. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IBench } from './tokens';

export const commandsPlugin: JupyterFrontEndPlugin<void> = {
  id: 'lepton-bench:commands',
  description: 'Commands and settings of lepton_bench.',
  autoStart: true,
  requires: [IBench],
  activate: (_: JupyterFrontEnd, bench: IBench): void => void bench
};
