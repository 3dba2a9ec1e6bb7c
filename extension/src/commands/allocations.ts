/** Release, restart, hang up. */
import { Notification } from '@jupyterlab/apputils';
import { refreshIcon } from '@jupyterlab/ui-components';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { releaseIcon } from '../shared/icons';
import { CommandIDs, type AllocationRow } from '../tokens';
import { choose, confirm, rowsOf } from './choose';
import type { Tools } from './once';

/** The allocation that is meant: the given one, or one that a person chooses; null: none. */
export async function findAllocation(
  { bench, trans }: Tools,
  args: ReadonlyPartialJSONObject,
  title: string,
  withJobs = false
): Promise<AllocationRow | null> {
  const rows = (await rowsOf(bench.allocations(), trans)).filter(
    row => row.state !== 'waiting' || (withJobs && row.job)
  );
  if (args.allocation) {
    const found = rows.find(row => row.name === args.allocation);
    if (!found) throw new Error(trans.__('There is no allocation “%1” any more.', String(args.allocation)));
    return found;
  }
  if (!rows.length) {
    Notification.info(trans.__('There are no allocations.'), { autoClose: 5000 });
    return null;
  }
  return choose(title, rows, row => `${row.name} (${row.labels.join(', ')}${row.label ? `; ${row.label}` : ''})`);
}

export function addAllocationCommands(tools: Tools): void {
  const { commands, bench, preferences, trans, once } = tools;

  /** Ask when a run goes on: it would be lost. */
  const loses = async (row: AllocationRow, title: string, accept: string): Promise<boolean> => {
    if (!preferences.confirm || (!row.run && row.state !== 'running')) return false;
    return !(await confirm(
      title,
      trans.__(
        'A run is going on in %1. It will be stopped: what it did since its last checkpoint is lost. Its metrics and logs stay.',
        row.name
      ),
      accept,
      trans
    ));
  };

  commands.addCommand(CommandIDs.release, {
    label: args => (args.allocation ? trans.__('Release') : trans.__('Release Devices…')),
    caption: trans.__('Give the devices of an allocation back'),
    icon: releaseIcon,
    isEnabled: () => bench.connected,
    execute: args =>
      once.run(`allocation ${String(args.allocation ?? '')}`, async () => {
        // a job in line, too
        const row = await findAllocation(tools, args, trans.__('Release which allocation?'), true);
        if (!row || (await loses(row, trans.__('Release %1?', row.name), trans.__('Stop and Release')))) return false;
        await bench.release(row.name);
        return true;
      })
  });

  commands.addCommand(CommandIDs.restart, {
    label: args => (args.allocation ? trans.__('Restart Workers') : trans.__('Restart Workers…')),
    caption: trans.__('Replace the ranks of an allocation by fresh processes'),
    icon: refreshIcon,
    isEnabled: () => bench.connected,
    execute: args =>
      once.run(`allocation ${String(args.allocation ?? '')}`, async () => {
        const row = await findAllocation(tools, args, trans.__('Restart the workers of which allocation?'));
        if (!row || (await loses(row, trans.__('Restart the workers of %1?', row.name), trans.__('Stop and Restart'))))
          return false;
        await bench.restart(row.name);
        return true;
      })
  });

  commands.addCommand(CommandIDs.cancel, {
    label: trans.__('Cancel the Request'),
    caption: trans.__('Wait for devices no longer'),
    isEnabled: args => bench.connected && !!args.request,
    execute: args => once.run(`request ${String(args.request)}`, () => bench.cancel(String(args.request)))
  });
}
