/** What can be done with a notebook's devices. */
import { MenuSvg } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyJSONObject } from '@lumino/coreutils';
import type { Menu } from '@lumino/widgets';
import { CommandIDs, type AllocationRow } from '../tokens';
import type { Bystander } from './bystander';
import { devicesText } from './state';

/** Commands of the notebook that nobody else needs. */
export namespace NotebookCommandIDs {
  export const menu = 'lepton-bench:notebook-devices'; // opens the toolbar item's menu
  export const take = 'lepton-bench:take-devices'; // args {notebook?}
  export const use = 'lepton-bench:use-allocation'; // args {allocation, notebook?}: lb.attach in that notebook
  // args {command, args, text}: another command under a longer name
  export const notebookAction = 'lepton-bench:notebook-action';
}

type Item = Menu.IItemOptions;

/** At most so many of others' allocations. */
const MOST = 12;

export function menuItems(
  watch: Bystander,
  notebook: string,
  commands: CommandRegistry,
  trans: TranslationBundle
): Item[] {
  const { own, left, waiting, others } = watch.state;
  const nameOf = (run: string): string => watch.runs.get(run)?.name ?? run;
  const action = (command: string, args: ReadonlyJSONObject, text: string): Item[] =>
    commands.hasCommand(command) ? [{ command: NotebookCommandIDs.notebookAction, args: { command, args, text } }] : [];
  const ofOne = ({ name, run, mine_kernel: kernel }: AllocationRow): Item[] => [
    ...(run
      ? [
          ...action(CommandIDs.openRun, { run }, trans.__('Open Run “%1”', nameOf(run))),
          ...action(CommandIDs.stopRun, { run }, trans.__('Stop Run “%1”', nameOf(run)))
        ]
      : []),
    ...action(
      NotebookCommandIDs.use,
      { allocation: name, notebook },
      kernel ? trans.__('Use %1 in a New Cell', name) : trans.__('Attach to %1', name)
    ),
    ...action(CommandIDs.restart, { allocation: name }, trans.__('Restart the Workers of %1', name)),
    ...action(CommandIDs.release, { allocation: name }, trans.__('Release %1', name)),
    { type: 'separator' }
  ];
  return [
    { command: CommandIDs.launch, args: { notebook } },
    { type: 'separator' },
    ...waiting.flatMap(({ id, name }) =>
      action(CommandIDs.cancel, { request: id }, trans.__('Stop Waiting for %1', name))
    ),
    ...[...own, ...left].flatMap(ofOne),
    { command: NotebookCommandIDs.take, args: { notebook } },
    ...attachMenu(others, notebook, commands, trans)
  ];
}

function attachMenu(
  others: AllocationRow[],
  notebook: string,
  commands: CommandRegistry,
  trans: TranslationBundle
): Item[] {
  if (!others.length) return [];
  const submenu = new MenuSvg({ commands });
  submenu.title.label = trans.__('Attach to');
  for (const row of others.slice(0, MOST)) {
    const text = [row.name, devicesText(row, trans), row.state, row.label].filter(Boolean).join(' · ');
    submenu.addItem({
      command: NotebookCommandIDs.notebookAction,
      args: { command: NotebookCommandIDs.use, args: { allocation: row.name, notebook }, text }
    });
  }
  return [{ type: 'submenu', submenu }];
}
