/** Context menus: a command for the row that was clicked. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { CommandIDs } from '../tokens';
import { argumentsOf } from './arguments';

const ROWS = ['jp-lb-run', 'jp-lb-allocation'];

export function addOnTarget(app: JupyterFrontEnd): void {
  const { commands } = app;
  const target = ({ command, ...given }: ReadonlyPartialJSONObject): [string, ReadonlyPartialJSONObject] => {
    const node = app.contextMenuHitTest(node => !!node.classList && ROWS.some(name => node.classList.contains(name)));
    return [String(command), { ...given, ...(node ? argumentsOf(node.dataset) : {}) }];
  };
  const known = (args: ReadonlyPartialJSONObject): boolean => commands.hasCommand(String(args.command));
  commands.addCommand(CommandIDs.onTarget, {
    label: args => (known(args) ? commands.label(...target(args)) : ''),
    caption: args => (known(args) ? commands.caption(...target(args)) : ''),
    icon: args => (known(args) ? commands.icon(...target(args)) : undefined),
    isVisible: args => known(args) && commands.isVisible(...target(args)),
    isEnabled: args => known(args) && commands.isEnabled(...target(args)),
    execute: args => commands.execute(...target(args))
  });
}
