/** Small parts that the sections share. */
import type { LabIcon } from '@jupyterlab/ui-components';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { memo, useEffect, useReducer, type ReactNode } from 'react';
import { useBench, type Bench } from './context';
import { duration } from '../shared/format';
import { useBusy, useNow, useSignal } from '../shared/hooks';

/** A command as a small button with an icon; busy until it is done. */
export function IconCommand(props: {
  command: string;
  args: ReadonlyPartialJSONObject;
  icon: LabIcon;
  name: string;
  tab?: number;
  enabled?: boolean;
}): JSX.Element | null {
  const { commands } = useBench();
  const [busy, run] = useBusy();
  if (!commands.hasCommand(props.command)) return null;
  return (
    <button
      type="button"
      className="jp-lb-icon"
      title={props.name}
      aria-label={props.name}
      tabIndex={props.tab}
      aria-busy={busy}
      disabled={busy || props.enabled === false}
      onClick={event => {
        event.stopPropagation();
        run(() => commands.execute(props.command, props.args));
      }}
    >
      <props.icon.react tag="span" width="14px" height="14px" />
    </button>
  );
}

/** A command in the title of a section. JupyterLab's own button there puts aria-pressed where it may not stand. */
export function TitleCommand({ commands, id }: { commands: Bench['commands']; id: string }): JSX.Element {
  const [, again] = useReducer((n: number) => n + 1, 0);
  useEffect(() => {
    commands.commandChanged.connect(again);
    return () => void commands.commandChanged.disconnect(again);
  }, [commands]);
  const Icon = commands.icon(id) as LabIcon;
  return (
    <button
      type="button"
      className="jp-lb-icon"
      title={commands.caption(id)}
      aria-label={commands.label(id)}
      disabled={!commands.isEnabled(id)}
      aria-pressed={commands.isToggleable(id) ? commands.isToggled(id) : undefined}
      onClick={() => void commands.execute(id)}
    >
      <Icon.react tag="span" width="16px" height="16px" />
    </button>
  );
}

/** A command as a button with a text. */
export function TextCommand(props: {
  command: string;
  args?: ReadonlyPartialJSONObject;
  children: ReactNode;
}): JSX.Element {
  const { commands, bench } = useBench();
  const [busy, run] = useBusy();
  return (
    <button
      type="button"
      className="jp-lb-button jp-mod-styled jp-mod-accept"
      disabled={busy || !bench.connected}
      onClick={() => run(() => commands.execute(props.command, props.args))}
    >
      {props.children}
    </button>
  );
}

/** How long ago; it goes on by itself. */
export const Ago = memo(
  ({ since, until = null, every = 1 }: { since: number; until?: number | null; every?: number }) => {
    const { trans } = useBench();
    const now = useNow(every);
    return <time title={new Date(since * 1000).toLocaleString()}>{duration((until ?? now) - since, trans)}</time>;
  }
);

/** A bar with a text that says the same. */
export function Bar(props: {
  role: 'meter' | 'progressbar';
  name: string;
  share: number;
  text: string;
  tone?: string;
}): JSX.Element {
  const percent = Math.round(props.share * 100);
  return (
    <div
      className="jp-lb-bar"
      role={props.role}
      aria-label={props.name}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent}
      aria-valuetext={props.text}
      data-tone={props.tone}
    >
      <div style={{ width: `${props.share * 100}%` }} />
    </div>
  );
}

/** Where there is nothing to show: why, and what to do. */
export function Empty({ children }: { children: ReactNode }): JSX.Element {
  return <div className="jp-lb-empty">{children}</div>;
}

/** Until the first rows are there. */
export function Pending({ error }: { error: string }): JSX.Element {
  const { bench, trans } = useBench();
  useSignal(bench.connectionChanged);
  if (error)
    return (
      <div className="jp-lb-error" role="alert">
        {error}
      </div>
    );
  return <Empty>{bench.problem ? trans.__('Not connected.') : trans.__('Loading…')}</Empty>;
}

/** Above the sections: only there when something is wrong. */
export function Trouble(): JSX.Element | null {
  const { bench, trans } = useBench();
  useSignal(bench.connectionChanged);
  return (
    <div role="status">
      {!bench.connected && bench.problem && (
        <div className="jp-lb-trouble">
          <strong>{trans.__('Not connected')}</strong>
          <p>{bench.problem}</p>
          <p>{trans.__('It is tried again by itself.')}</p>
        </div>
      )}
    </div>
  );
}
