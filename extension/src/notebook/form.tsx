/** One field of the launch form, as a person fills it in. */
import { HTMLSelect } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import { useEffect, useRef, type ReactNode } from 'react';
import type { Field, Value } from './answers';

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
  return <div ref={node} className={className}>{children}</div>;
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
        {problem && <div className="jp-lb-nb-problem" id={`${id}-problem`}>{problem}</div>}
        {help && <div className="jp-lb-nb-help" id={`${id}-help`}>{help}</div>}
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

export function Text({ id, value, set, leave, help, problem, required, placeholder, numeric, code }: TextProps): JSX.Element {
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

interface FieldProps {
  field: Field;
  value: Value;
  problem: string;
  set: (value: Value) => void;
  leave: () => void;
  trans: TranslationBundle;
}

/** The input that fits a kind of argument. */
function Input({ id, field, value, problem, set, leave, trans }: FieldProps & { id: string }): JSX.Element {
  const { kind, help, required } = field;
  const described = describedBy(id, help, problem);
  if (kind === 'bool') {
    return <input id={id} type="checkbox" className="jp-mod-styled jp-lb-nb-check" checked={value === true} aria-describedby={described} onChange={event => set(event.target.checked)} />;
  }
  if (kind === 'choice') {
    return (
      <HTMLSelect id={id} value={value as string} aria-required={required} aria-invalid={!!problem} aria-describedby={described} onChange={event => set(event.target.value)} onBlur={leave}>
        {!field.initial && <option value="">{required ? trans.__('choose…') : trans.__('as it is')}</option>}
        {field.choices.map(choice => <option key={choice} value={choice}>{choice}</option>)}
      </HTMLSelect>
    );
  }
  const placeholder = field.default || required ? undefined : trans.__('as it is');
  return <Text {...{ id, set, leave, help, problem, required, placeholder }} value={value as string} numeric={kind === 'int' || kind === 'float'} code={kind === 'literal'} />;
}

export function FieldRow(props: FieldProps): JSX.Element {
  const { field, problem } = props;
  const id = `jp-lb-nb-argument-${field.name}`;
  return (
    <Row id={id} label={field.name} detail={field.annotation} help={field.help} problem={problem} required={field.required}>
      <Input {...props} id={id} />
    </Row>
  );
}
