/** What a run is and how it was made: status, arguments, error, source. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import * as React from 'react';
import type { IBench, RunDetail } from '../tokens';
import { statusText } from '../shared/runs';
import { elapsed, timeText, valueText } from './texts';

export type Source = Awaited<ReturnType<IBench['source']>>;

function Facts({ rows }: { rows: [string, React.ReactNode][] }): React.JSX.Element {
  const there = rows.filter(([, value]) => value !== null && value !== undefined && value !== false && value !== '');
  return (
    <dl className="jp-lb-Facts">
      {there.map(([name, value]) => (
        <React.Fragment key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </React.Fragment>
      ))}
    </dl>
  );
}

function Failure({ run, trans }: { run: RunDetail; trans: TranslationBundle }): React.JSX.Element | null {
  const { error } = run;
  if (!error) return null;
  return (
    <section className="jp-lb-Failure">
      <h2>{error.rank === null ? trans.__('Error') : trans.__('Error on rank %1', error.rank)}</h2>
      <p>
        <strong>{error.type}</strong> {error.message}
      </p>
      {error.traceback && <pre tabIndex={0}>{error.traceback}</pre>}
      {error.log?.length > 0 && (
        <details>
          <summary>{trans.__('The last lines of its log')}</summary>
          <pre tabIndex={0}>{error.log.join('\n')}</pre>
        </details>
      )}
    </section>
  );
}

function Restarts({ run, trans }: { run: RunDetail; trans: TranslationBundle }): React.JSX.Element | null {
  if (!run.restarts.length) return null;
  return (
    <section>
      <h2>{trans.__('Restarts')}</h2>
      <table className="jp-lb-Table">
        <thead>
          <tr>
            <th>{trans.__('attempt')}</th>
            <th>{trans.__('time')}</th>
            <th>{trans.__('reason')}</th>
          </tr>
        </thead>
        <tbody>
          {run.restarts.map((r, k) => (
            <tr key={k}>
              <td>{r.attempt}</td>
              <td>{timeText(r.time)}</td>
              <td>{r.reason}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Made({
  source,
  problem,
  trans
}: {
  source: Source | null;
  problem: string;
  trans: TranslationBundle;
}): React.JSX.Element {
  const versions = Object.entries(source?.versions ?? {});
  return (
    <section className="jp-lb-Source" tabIndex={-1}>
      <h2>{trans.__('Source')}</h2>
      {problem && <p>{problem}</p>}
      {!source && !problem && <p>{trans.__('Reading…')}</p>}
      {source && !source.files.length && <p>{trans.__('No source was kept of this run.')}</p>}
      {source?.files.map(file => (
        <details key={file.name} open={source.files.length < 4}>
          <summary>{file.name}</summary>
          <pre tabIndex={0}>{file.text}</pre>
        </details>
      ))}
      {versions.length > 0 && (
        <details>
          <summary>{trans.__('%1 installed packages', versions.length)}</summary>
          <pre tabIndex={0}>{versions.map(([name, version]) => `${name} ${version}`).join('\n')}</pre>
        </details>
      )}
    </section>
  );
}

/** The whole page. */
export function About({
  run,
  source,
  problem,
  trans
}: {
  run: RunDetail;
  source: Source | null;
  problem: string;
  trans: TranslationBundle;
}): React.JSX.Element {
  const parameters = Object.entries(run.parameters ?? {});
  const headless = ['notebook', 'sweep'].includes(run.kind);
  const recorded = run.kind === 'notebook' ? Object.entries(run.values ?? {}) : [];
  const place = (name: string): React.ReactNode =>
    headless && typeof run.extra?.[name] === 'string' && <code>{String(run.extra[name])}</code>;
  const extra = Object.entries(run.extra ?? {}).filter(
    ([name, value]) =>
      value !== null && typeof value !== 'object' && !(headless && ['notebook', 'output'].includes(name))
  );
  const state = [statusText(run.status, trans), run.reason].filter(Boolean).join(': ');
  return (
    <>
      <Failure run={run} trans={trans} />
      <section>
        <h2>{trans.__('Configuration')}</h2>
        <Facts
          rows={[
            [trans.__('run'), <code>{run.id}</code>],
            [trans.__('name'), run.name],
            [trans.__('status'), state],
            [trans.__('kind'), run.kind],
            [trans.__('arguments'), run.arguments && <code>{run.arguments}</code>],
            [trans.__('created'), timeText(run.created)],
            [trans.__('started'), run.started && timeText(run.started)],
            [trans.__('ended'), run.ended && timeText(run.ended)],
            [trans.__('duration'), run.ended && elapsed(run, run.ended)],
            [trans.__('last step'), run.steps],
            [trans.__('attempt'), run.attempt || null],
            [trans.__('allocation'), run.allocation],
            [trans.__('ranks'), run.world_size],
            [trans.__('engine'), run.engine],
            [trans.__('user'), `${run.user}@${run.host}`],
            [trans.__('working directory'), <code>{run.cwd}</code>],
            [trans.__('folder'), <code>{run.directory}</code>],
            [trans.__('git commit'), source?.git_commit && <code>{source.git_commit}</code>],
            [trans.__('notebook'), place('notebook')],
            [trans.__('output'), place('output')],
            [trans.__('begun by'), run.parent && <code>{run.parent}</code>],
            ...extra.map(([name, value]): [string, React.ReactNode] => [name, valueText(value)])
          ]}
        />
      </section>
      {parameters.length > 0 && (
        <section>
          <h2>{trans.__('Parameters')}</h2>
          <Facts rows={parameters.map(([name, value]) => [name, <code>{valueText(value)}</code>])} />
        </section>
      )}
      {recorded.length > 0 && (
        <section>
          <h2>{trans.__('Values')}</h2>
          <Facts rows={recorded.map(([name, value]) => [name, <code>{valueText(value)}</code>])} />
        </section>
      )}
      <Restarts run={run} trans={trans} />
      <Made source={source} problem={problem} trans={trans} />
    </>
  );
}

/** Asks for the source when it is looked at, once. */
export class AboutPage extends ReactWidget {
  private run: RunDetail | null = null;
  private source: Source | null = null;
  private problem = '';
  private asked = false;
  private wanted = false; // to see the source first

  constructor(
    private readonly bench: IBench,
    private readonly runId: string,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-lb-About');
  }

  set(run: RunDetail): void {
    this.run = run;
    if (this.isVisible) this.update();
  }

  /** Put into the page while it is the page in front: nobody says that it is shown. */
  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    if (this.isVisible) this.onAfterShow(message);
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    void this.ask();
    this.update();
  }

  private async ask(): Promise<void> {
    if (this.asked) return;
    this.asked = true;
    try {
      this.source = await this.bench.source(this.runId);
      this.problem = '';
    } catch (error) {
      this.problem = (error as Error).message;
      this.asked = false;
    }
    if (!this.isDisposed) this.update();
  }

  /** Bring the source to sight. */
  showSource(): void {
    this.wanted = true;
    this.update();
  }

  protected render(): React.JSX.Element | null {
    const { run, source, problem, trans } = this;
    return run && <About run={run} source={source} problem={problem} trans={trans} />;
  }

  protected onUpdateRequest(message: Message): void {
    super.onUpdateRequest(message);
    if (!this.wanted || !(this.source || this.problem)) return;
    this.wanted = false;
    void this.renderPromise?.then(() => this.node.querySelector<HTMLElement>('.jp-lb-Source')?.focus());
  }
}
