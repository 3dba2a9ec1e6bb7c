/** Where each rank of a run stands: asked when somebody looks, and as it was when the run stalled. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, refreshIcon } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import * as React from 'react';
import type { IBench, RunDetail, Standing } from '../tokens';
import { groupsOf, isOdd } from './stacks';
import { isOver, timeText } from './texts';
import { runs } from '../sidebar/filter';

/** Stacks, and when they were taken. */
interface Look extends Standing {
  time: number; // unix seconds
}

function Groups({ look }: { look: Look }): React.JSX.Element {
  const { hint, groups } = groupsOf(look.text);
  return (
    <>
      {hint && <p className="jp-lb-Ranks-hint"><strong>{hint}</strong></p>}
      {groups.map(group => (
        <section key={group.ranks} className="jp-lb-Ranks-group" data-odd={isOdd(group, look.odd) || undefined} aria-label={group.ranks}>
          <h3>{group.ranks}</h3>
          <pre tabIndex={0}>{group.lines.join('\n')}</pre>
        </section>
      ))}
    </>
  );
}

/** The stacks that were kept when a run was found to stand still. */
export function stallOf(run: RunDetail): (Look & { since: number }) | null {
  const found = run.extra.stall as { since?: unknown; stacks?: unknown; odd?: unknown } | undefined;
  if (!found || typeof found.since !== 'number' || typeof found.stacks !== 'string') return null;
  return { text: found.stacks, odd: Array.isArray(found.odd) ? (found.odd as number[]) : [], time: found.since, since: found.since };
}

export class RanksPage extends ReactWidget {
  private run: RunDetail | null = null;
  private look: Look | null = null;
  private busy = false;
  private problem = '';

  constructor(private readonly bench: IBench, private readonly trans: TranslationBundle) {
    super();
    this.addClass('jp-lb-Ranks');
  }

  set(run: RunDetail): void {
    const before = this.run;
    this.run = run;
    if (isOver(run.status) || before?.attempt !== run.attempt) this.look = null;
    if (!this.isVisible) return;
    if (before?.status !== run.status && !this.look) void this.ask();
    this.update();
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.update();
    void this.ask();
  }

  private async ask(): Promise<void> {
    const { run } = this;
    if (!run || !runs(run.status) || this.busy) return;
    this.busy = true;
    this.update();
    try {
      this.look = { ...(await this.bench.stacks(run.id)), time: Date.now() / 1000 };
      this.problem = '';
    } catch (error) {
      this.problem = (error as Error).message;
    }
    this.busy = false;
    if (!this.isDisposed) this.update();
  }

  protected render(): React.JSX.Element | null {
    const { run, trans, busy, problem } = this;
    if (!run) return null;
    if (!runs(run.status)) return <p className="jp-lb-empty">{isOver(run.status) ? trans.__('The run has ended: its ranks stand nowhere. What they printed is under Logs.') : trans.__('The run has not begun.')}</p>;
    const stall = stallOf(run), look = this.look ?? stall;
    return (
      <>
        <div className="jp-lb-Ranks-bar">
          <button type="button" className="jp-mod-styled jp-mod-minimal" disabled={busy} onClick={() => void this.ask()}>
            <refreshIcon.react tag="span" aria-hidden="true" />{busy ? trans.__('Asking…') : trans.__('Ask Again')}
          </button>
          <span role="status">
            {stall && <strong>{trans.__('No step and no output since %1.', timeText(stall.since))} </strong>}
            {look && trans.__('This is where the ranks stood at %1.', timeText(look.time))}
          </span>
        </div>
        {problem && <p className="jp-lb-Ranks-problem" role="alert">{problem}</p>}
        {look ? <Groups look={look} /> : !problem && <p className="jp-lb-empty">{trans.__('Asking the ranks where they stand…')}</p>}
      </>
    );
  }
}
