/** Where each rank of a run stands: asked when somebody looks, and as it was when the run stalled. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, refreshIcon } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import type * as React from 'react';
import type { IBench, RunDetail, Standing } from '../tokens';
import { frameOf, groupsOf, isOdd, stallOf } from './stacks';
import { timeText } from './texts';
import { runs } from '../shared/runs';

/** Stacks, and when they were taken: null, when the run was found to stand still. */
interface Look extends Standing {
  time: number | null; // unix seconds
}

function Groups({ look }: { look: Look }): React.JSX.Element {
  const { hint, groups } = groupsOf(look.text);
  return (
    <>
      {hint && (
        <p className="jp-lb-Ranks-hint">
          <strong>{hint}</strong>
        </p>
      )}
      {groups.map(group => (
        <section
          key={group.ranks}
          className="jp-lb-Ranks-group"
          data-odd={isOdd(group, look.odd) || undefined}
          aria-label={group.ranks}
        >
          <h3>{group.ranks}</h3>
          <ol>
            {group.lines.map(frameOf).map(([where, name], i) => (
              <li key={i}>
                {where}
                <strong>{name}</strong>
              </li>
            ))}
          </ol>
        </section>
      ))}
    </>
  );
}

export class RanksPage extends ReactWidget {
  private run: RunDetail | null = null;
  private look: Look | null = null;
  private busy = false;
  private problem = '';
  private turn = 0; // an answer of an earlier one is about something else

  constructor(
    private readonly bench: IBench,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-lb-Ranks');
    this.node.tabIndex = 0; // it may have to be scrolled while its button cannot be pressed
  }

  set(run: RunDetail): void {
    const before = this.run;
    this.run = run;
    const other = !runs(run.status) || before?.attempt !== run.attempt;
    if (other) this.forget();
    if (!this.isVisible) return;
    if (before?.status !== run.status || other) void this.ask();
    this.update();
  }

  private forget(): void {
    this.turn++;
    this.look = null;
    this.problem = '';
    this.busy = false;
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.update();
    void this.ask();
  }

  private async ask(): Promise<void> {
    const { run } = this;
    if (!run || !runs(run.status) || this.busy) return;
    const turn = this.turn;
    this.busy = true;
    this.update();
    const found = await this.bench.stacks(run.id).catch((error: Error) => error);
    if (turn !== this.turn || this.isDisposed) return;
    this.busy = false;
    this.problem = found instanceof Error ? found.message : '';
    if (!(found instanceof Error)) this.look = { ...found, time: Date.now() / 1000 };
    this.update();
  }

  protected render(): React.JSX.Element | null {
    const { run, trans, busy, problem } = this;
    if (!run) return null;
    if (!runs(run.status))
      return (
        <p className="jp-lb-empty">
          {run.status !== 'waiting'
            ? trans.__('The run has ended: its ranks stand nowhere. What they printed is under Logs.')
            : trans.__('The run has not begun.')}
        </p>
      );
    const stall = stallOf(run),
      look: Look | null = this.look ?? (stall && { ...stall, time: null });
    return (
      <>
        <div className="jp-lb-Ranks-bar">
          <button
            type="button"
            className="jp-mod-styled jp-mod-minimal"
            disabled={busy}
            onClick={() => void this.ask()}
          >
            <refreshIcon.react tag="span" aria-hidden="true" />
            {busy ? trans.__('Asking…') : trans.__('Refresh')}
          </button>
          <span role="status">
            {stall && <strong>{trans.__('No step and no output since %1.', timeText(stall.since))} </strong>}
            {look &&
              (look.time === null
                ? trans.__('This is where the ranks stood when that was noticed.')
                : trans.__('This is where the ranks stood at %1.', timeText(look.time)))}
          </span>
        </div>
        {problem && (
          <p className="jp-lb-Ranks-problem" role="alert">
            {problem}
          </p>
        )}
        {look ? (
          <Groups look={look} />
        ) : (
          !problem && <p className="jp-lb-empty">{trans.__('Asking the ranks where they stand…')}</p>
        )}
      </>
    );
  }
}
