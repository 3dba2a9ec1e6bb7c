/** Stop, resume and delete runs. */
import { Clipboard, Notification } from '@jupyterlab/apputils';
import { copyIcon, deleteIcon, runIcon, stopIcon } from '@jupyterlab/ui-components';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { going, isResumable, sortRuns } from '../shared/runs';
import { CommandIDs, type RunRow, type Status } from '../tokens';
import { choose, confirm, rowsOf } from './choose';
import type { Tools } from './once';
import { askPlace } from './resume';

/** The run that is meant: the given one, or one that a person chooses; null: none. */
async function findRun(
  { bench, trans }: Tools,
  args: ReadonlyPartialJSONObject,
  title: string,
  fits: (row: RunRow) => boolean,
  none: string
): Promise<string | null> {
  if (args.run) return String(args.run);
  const rows = sortRuns(await rowsOf(bench.runs(), trans)).filter(fits);
  if (!rows.length) {
    Notification.info(none, { autoClose: 5000 });
    return null;
  }
  return (await choose(title, rows.slice(0, 200), row => `${row.name} (${row.id}, ${row.status})`))?.id ?? null;
}

/** A context menu knows the status; elsewhere the server says whether it can be done. */
const has = (args: ReadonlyPartialJSONObject, fits: (status: Status) => boolean): boolean =>
  !args.status || fits(args.status as Status);

export function addRunCommands(tools: Tools): void {
  const { commands, bench, preferences, trans, once } = tools;

  const lost = (kind: unknown, name: string): string =>
    kind === 'sweep'
      ? trans.__(
          '%1: the runs of its sets and all that was launched in them are deleted for ever, with their metrics and logs. The notebooks that were written stay.',
          name
        )
      : kind === 'notebook'
        ? trans.__(
            '%1: its log and values, and the runs that were launched in it, are deleted for ever. The notebook that was written stays.',
            name
          )
        : trans.__('%1: its metrics, logs and checkpoints are deleted for ever.', name);

  commands.addCommand(CommandIDs.stopRun, {
    label: args =>
      args.kill
        ? trans.__('Kill Run')
        : args.kind === 'sweep'
          ? trans.__('Stop Sweep')
          : args.run
            ? trans.__('Stop Run')
            : trans.__('Stop a Run…'),
    caption: args =>
      args.kill ? trans.__('End its processes at once') : trans.__('Ask the ranks to stop; the devices stay yours'),
    icon: stopIcon,
    isEnabled: args => bench.connected && has(args, going),
    execute: args =>
      once.run(`stop ${String(args.run ?? '')} ${!!args.kill}`, async () => {
        const run = await findRun(
          tools,
          args,
          trans.__('Stop which run?'),
          row => going(row.status),
          trans.__('No run is going on.')
        );
        if (!run) return false;
        await bench.stop(run, !!args.kill);
        return true;
      })
  });

  commands.addCommand(CommandIDs.resumeRun, {
    label: args => (args.run ? trans.__('Resume Run…') : trans.__('Resume a Run…')),
    caption: trans.__('Go on from its latest checkpoint, in an allocation or on new devices'),
    icon: runIcon,
    isVisible: args => args.kind !== 'sweep' && !args.headless,
    isEnabled: args =>
      bench.connected && !args.headless && has(args, status => isResumable({ status, kind: '', allocation: null })),
    execute: args =>
      once.run(`resume ${String(args.run ?? '')}`, async () => {
        const run = await findRun(
          tools,
          args,
          trans.__('Resume which run?'),
          isResumable,
          trans.__('No run was lost, stopped or failed.')
        );
        if (!run) return false;
        const [runs, allocations, devices] = await Promise.all([
          rowsOf(bench.runs(), trans),
          rowsOf(bench.allocations(), trans),
          rowsOf(bench.devices(), trans)
        ]);
        const row = runs.find(row => row.id === run) ?? { id: run, name: '', kind: '', world_size: 1 };
        if (row.kind === 'sweep') return (await commands.execute(CommandIDs.sweepAgain, { run })) as boolean;
        const answer = await askPlace(row, allocations, devices.length, place => bench.resumeRun(run, place), trans);
        if (!answer) return false;
        if (answer.request)
          Notification.info(trans.__('Run %1 goes on as soon as its devices are free.', run), { autoClose: 5000 });
        return true;
      })
  });

  commands.addCommand(CommandIDs.removeRun, {
    label: args =>
      args.kind === 'sweep' ? trans.__('Delete Sweep') : args.run ? trans.__('Delete Run') : trans.__('Delete a Run…'),
    caption: trans.__('Delete a run with its metrics, logs and checkpoints'),
    icon: deleteIcon,
    isEnabled: args => bench.connected && has(args, status => !going(status)),
    execute: args =>
      once.run(`remove ${String(args.run ?? '')}`, async () => {
        const run = await findRun(
          tools,
          args,
          trans.__('Delete which run?'),
          row => !going(row.status),
          trans.__('There is no run that has ended.')
        );
        if (!run) return false;
        const name = args.name ? `${String(args.name)} (${run})` : run;
        if (
          preferences.confirm &&
          !(await confirm(trans.__('Delete the run?'), lost(args.kind, name), trans.__('Delete'), trans))
        )
          return false;
        await bench.remove(run);
        return true;
      })
  });

  commands.addCommand(CommandIDs.copyRunId, {
    label: trans.__('Copy Run ID'),
    caption: trans.__('For lb.runs() and the command line'),
    icon: copyIcon,
    isEnabled: args => !!args.run,
    execute: args => Clipboard.copyToSystem(String(args.run))
  });
}
