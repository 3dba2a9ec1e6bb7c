/** What stands above a dashboard: how the run is, and what can be done about it. */
import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import {
  addToolbarButtonClass,
  closeIcon,
  notebookIcon,
  ReactWidget,
  runIcon,
  stopIcon,
  ToolbarButtonComponent
} from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import * as React from 'react';
import { CommandIDs, type IBench, type RequestRow, type RunDetail, type RunRow } from '../tokens';
import { statusIcon } from './icons';
import { cellsText, setsText } from '../shared/format';
import { isResumable, runs, statusText } from '../shared/runs';
import { durationText, elapsed, isOver } from './texts';

const PATIENCE = 5000; // milliseconds after Stop; then Kill is offered

/** Seconds since 1970, every second while it matters. */
function useNow(ticks: boolean): number {
  const [now, set] = React.useState(Date.now() / 1000);
  React.useEffect(() => {
    if (!ticks) return undefined;
    const timer = setInterval(() => set(Date.now() / 1000), 1000);
    return () => clearInterval(timer);
  }, [ticks]);
  return Math.max(now, Date.now() / 1000);
}

export function RunStatus({
  run,
  row,
  trans
}: {
  run: RunDetail;
  row: RunRow | undefined;
  trans: TranslationBundle;
}): React.JSX.Element {
  const now = useNow(runs(run.status)),
    Icon = statusIcon(run.status),
    progress = row?.progress ?? null;
  const share = progress?.total ? Math.min(1, progress.done / progress.total) : null;
  const left =
    share && run.kind !== 'notebook' && runs(run.status) && run.started
      ? durationText(((now - run.started) * (1 - share)) / share)
      : '';
  const words = [
    statusText(run.status, trans),
    elapsed(run, now),
    ['running', 'done'].includes(run.status) || run.reason === run.status ? '' : run.reason
  ]
    .filter(Boolean)
    .join(' · ');
  return (
    <span className="jp-lb-Status" data-status={run.status} title={[run.name, run.id, words].join('\n')}>
      <Icon.react tag="span" aria-hidden="true" />
      <strong>{run.name || run.id}</strong>
      <span role="status">{words}</span>
      {share !== null && runs(run.status) && (
        <>
          <progress value={share} aria-label={trans.__('progress')} />
          <span>
            {row?.sets
              ? setsText(row.sets, trans)
              : run.kind === 'notebook'
                ? cellsText(progress!.done, progress!.total!, trans)
                : `${Math.floor(100 * share)} %`}
            {left && ` · ${trans.__('%1 left', left)}`}
          </span>
        </>
      )}
    </span>
  );
}

/**
 * A button that is no toggle: JupyterLab's own says that it is not pressed, which a screen reader takes for a state.
 */
export function action(props: ToolbarButtonComponent.IProps): ReactWidget {
  return addToolbarButtonClass(ReactWidget.create(<ToolbarButtonComponent {...props} />));
}

/** Says what went wrong, of what somebody asked for; whether it was done, and not thought better of. */
export async function attempt(what: Promise<unknown>): Promise<boolean> {
  try {
    return (await what) !== false;
  } catch (error) {
    Notification.error((error as Error).message, { autoClose: 10_000 });
    return false;
  }
}

export class StatusItem extends ReactWidget {
  run: RunDetail | null = null;
  row: RunRow | undefined;

  constructor(private readonly trans: TranslationBundle) {
    super();
    this.addClass('jp-lb-StatusItem');
  }

  protected render(): React.JSX.Element | null {
    return this.run && <RunStatus run={this.run} row={this.row} trans={this.trans} />;
  }
}

/** The notebook that a headless run has written. */
export class OutputItem extends ReactWidget {
  run: RunDetail | null = null;

  constructor(
    private readonly commands: CommandRegistry,
    private readonly trans: TranslationBundle
  ) {
    super();
    addToolbarButtonClass(this);
    this.addClass('jp-lb-OutputItem');
  }

  protected render(): React.JSX.Element | null {
    const { run, trans } = this;
    if (run?.kind !== 'notebook' || !(run.output || run.output_at)) return null;
    const tooltip = run.output
      ? trans.__('open %1', run.output)
      : trans.__('it lies where JupyterLab’s file browser does not reach: %1', run.output_at!);
    const open = (): void => void this.commands.execute(CommandIDs.openOutput, { run: run.id, output: run.output! });
    return (
      <ToolbarButtonComponent
        icon={notebookIcon}
        label={trans.__('Open Output Notebook')}
        tooltip={tooltip}
        enabled={!!run.output}
        onClick={open}
      />
    );
  }
}

/** Another attempt of what was lost, stopped or failed; while that waits for devices, the end of the waiting. */
export class ResumeItem extends ReactWidget {
  private run: RunDetail | null = null;
  private request: RequestRow | undefined;

  constructor(
    private readonly commands: CommandRegistry,
    private readonly trans: TranslationBundle
  ) {
    super();
    addToolbarButtonClass(this);
    this.addClass('jp-lb-ResumeItem');
  }

  set(run: RunDetail | null, request?: RequestRow): void {
    this.run = run;
    this.request = request;
    this.update();
  }

  protected render(): React.JSX.Element | null {
    const { run, request, commands, trans } = this;
    if (!run || !isResumable(run)) return null;
    if (request?.state === 'waiting') {
      const cancel = (): void => void commands.execute(CommandIDs.cancel, { request: request.id });
      return (
        <ToolbarButtonComponent
          icon={closeIcon}
          label={trans.__('Cancel Resume')}
          tooltip={trans.__('do not wait for devices any longer')}
          onClick={cancel}
        />
      );
    }
    const tooltip =
      run.kind === 'sweep'
        ? trans.__('run the sets that are not done')
        : run.checkpoint === null
          ? trans.__('run it again: it has no checkpoint')
          : trans.__('go on from step %1', run.checkpoint);
    return (
      <ToolbarButtonComponent
        icon={runIcon}
        label={trans.__('Resume')}
        tooltip={tooltip}
        onClick={() => void commands.execute(CommandIDs.resumeRun, { run: run.id })}
      />
    );
  }
}

/** Stop, and Kill when that does not help. */
export class StopItem extends ReactWidget {
  private run: RunDetail | null = null;
  private asked = 0; // when Stop was pressed
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly bench: IBench,
    private readonly commands: CommandRegistry,
    private readonly trans: TranslationBundle
  ) {
    super();
    addToolbarButtonClass(this);
    this.addClass('jp-lb-StopItem');
  }

  set(run: RunDetail): void {
    if (isOver(run.status)) this.asked = 0; // it may be resumed
    this.run = run;
    this.update();
  }

  private async press(kill: boolean): Promise<void> {
    const run = this.run!.id;
    this.asked = Date.now();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.update(), PATIENCE + 50);
    this.update();
    const done = await attempt(
      this.commands.hasCommand(CommandIDs.stopRun)
        ? this.commands.execute(CommandIDs.stopRun, { run, kill })
        : this.bench.stop(run, kill)
    );
    if (!done) this.asked = 0;
    this.update();
  }

  protected render(): React.JSX.Element | null {
    const { run, trans } = this;
    if (!run || isOver(run.status)) return null;
    const waits = this.asked > 0 && Date.now() < this.asked + PATIENCE,
      kill = this.asked > 0 && !waits;
    const label = waits ? trans.__('Stopping…') : kill ? trans.__('Kill') : trans.__('Stop');
    const tooltip = kill
      ? trans.__('it has not stopped: end its processes at once')
      : trans.__('stop this run on all ranks');
    return (
      <ToolbarButtonComponent
        icon={stopIcon}
        label={label}
        tooltip={tooltip}
        enabled={!waits}
        onClick={() => void this.press(kill)}
      />
    );
  }

  dispose(): void {
    clearTimeout(this.timer);
    super.dispose();
  }
}
