/** Rows and text inputs of a dialog's form. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { useEffect, useRef, type ReactNode } from 'react';

/** What a field for `time=` says. */
export const timeLimitHelp = (trans: Pick<TranslationBundle, '__'>): string =>
  trans.__('Seconds after which they are given back at the latest; a short request may go first. Empty: no limit.');

interface RowProps {
  id: string;
  label: string;
  detail?: string; // what stands small beside the label
  help?: string;
  problem?: string;
  required?: boolean;
  children: ReactNode;
}

/** The dialog holds the keyboard: when what had it goes away, the next thing gets it. */
export function Held({ children, className }: { children: ReactNode; className: string }): JSX.Element {
  const node = useRef<HTMLDivElement>(null);
  useEffect(() => {
    node.current?.querySelector<HTMLElement>('select, input, button')?.focus();
  }, []);
  return (
    <div ref={node} className={className}>
      {children}
    </div>
  );
}

/** Ids of what describes an input. */
export function describedBy(id: string, help?: string, problem?: string): string | undefined {
  return [problem && `${id}-problem`, help && `${id}-help`].filter(Boolean).join(' ') || undefined;
}

/** Label, input, help, and what is wrong. */
export function Row({ id, label, detail, help, problem, required, children }: RowProps): JSX.Element {
  return (
    <div className={`jp-lb-nb-row${problem ? ' jp-lb-nb-mod-wrong' : ''}`}>
      <label className="jp-lb-nb-label" htmlFor={id}>
        <span className="jp-lb-nb-name">{label}</span>
        {required && <span aria-hidden="true"> *</span>}
        {detail && <span className="jp-lb-nb-detail">{detail}</span>}
      </label>
      <div className="jp-lb-nb-value">
        {children}
        {problem && (
          <div className="jp-lb-nb-problem" id={`${id}-problem`}>
            {problem}
          </div>
        )}
        {help && (
          <div className="jp-lb-nb-help" id={`${id}-help`}>
            {help}
          </div>
        )}
      </div>
    </div>
  );
}

interface TextProps {
  id: string;
  value: string;
  set: (value: string) => void;
  leave?: () => void;
  help?: string;
  problem?: string;
  required?: boolean;
  placeholder?: string;
  numeric?: boolean;
  code?: boolean;
}

export function Text({
  id,
  value,
  set,
  leave,
  help,
  problem,
  required,
  placeholder,
  numeric,
  code
}: TextProps): JSX.Element {
  return (
    <input
      id={id}
      type="text"
      className={`jp-mod-styled jp-lb-nb-input${code ? ' jp-lb-nb-mod-code' : ''}`}
      value={value}
      placeholder={placeholder}
      inputMode={numeric ? 'decimal' : undefined}
      autoComplete="off"
      spellCheck={false}
      aria-required={required}
      aria-invalid={!!problem}
      aria-describedby={describedBy(id, help, problem)}
      onChange={event => set(event.target.value)}
      onBlur={leave}
    />
  );
}

/** A row whose input is a text. */
export function TextRow({ label, detail, ...text }: Omit<RowProps, 'children'> & TextProps): JSX.Element {
  const { id, help, problem, required } = text;
  return (
    <Row {...{ id, label, detail, help, problem, required }}>
      <Text {...text} />
    </Row>
  );
}
