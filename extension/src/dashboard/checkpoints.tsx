/** The checkpoints of a run, the newest first. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import type * as React from 'react';
import type { RunDetail } from '../tokens';
import { bytesText, timeText } from './texts';

export function Checkpoints({ run, trans }: { run: RunDetail; trans: TranslationBundle }): React.JSX.Element {
  const found = [...run.checkpoints].sort((a, b) => b.step - a.step);
  if (!found.length)
    return (
      <p className="jp-lb-empty">
        {trans.__(
          'No checkpoints: lb.save_checkpoint(state, step) in the launched function writes one, on every rank.'
        )}
      </p>
    );
  return (
    <table className="jp-lb-Table">
      <caption>
        {trans._n(
          '%1 checkpoint, %2',
          '%1 checkpoints, %2',
          found.length,
          bytesText(found.reduce((n, c) => n + c.bytes, 0))
        )}
      </caption>
      <thead>
        <tr>
          <th scope="col">{trans.__('step')}</th>
          <th scope="col">{trans.__('size')}</th>
          <th scope="col">{trans.__('time')}</th>
        </tr>
      </thead>
      <tbody>
        {found.map(c => (
          <tr key={c.step}>
            <td>{c.step.toLocaleString('en')}</td>
            <td>{bytesText(c.bytes)}</td>
            <td>{timeText(c.time)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

export class CheckpointsPage extends ReactWidget {
  private run: RunDetail | null = null;

  constructor(private readonly trans: TranslationBundle) {
    super();
    this.addClass('jp-lb-Checkpoints');
  }

  set(run: RunDetail): void {
    this.run = run;
    if (this.isVisible) this.update();
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.update();
  }

  protected render(): React.JSX.Element | null {
    return this.run && <Checkpoints run={this.run} trans={this.trans} />;
  }
}
