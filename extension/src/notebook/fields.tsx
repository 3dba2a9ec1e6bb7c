/** One argument of the launch form, with the input that fits its kind. */
import { HTMLSelect } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Row, Text, describedBy } from '../shared/form';
import type { Field, Value } from './answers';

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
    return (
      <input
        id={id}
        type="checkbox"
        className="jp-mod-styled jp-lb-nb-check"
        checked={value === true}
        aria-describedby={described}
        onChange={event => set(event.target.checked)}
      />
    );
  }
  if (kind === 'choice') {
    return (
      <HTMLSelect
        id={id}
        value={value as string}
        aria-required={required}
        aria-invalid={!!problem}
        aria-describedby={described}
        onChange={event => set(event.target.value)}
        onBlur={leave}
      >
        {!field.initial && <option value="">{required ? trans.__('choose…') : trans.__('as it is')}</option>}
        {field.choices.map(choice => (
          <option key={choice} value={choice}>
            {choice}
          </option>
        ))}
      </HTMLSelect>
    );
  }
  const placeholder = field.default || required ? undefined : trans.__('as it is');
  return (
    <Text
      {...{ id, set, leave, help, problem, required, placeholder }}
      value={value as string}
      numeric={kind === 'int' || kind === 'float'}
      code={kind === 'literal'}
    />
  );
}

export function FieldRow(props: FieldProps): JSX.Element {
  const { field, problem } = props;
  const id = `jp-lb-nb-argument-${field.name}`;
  return (
    <Row
      id={id}
      label={field.name}
      detail={field.annotation}
      help={field.help}
      problem={problem}
      required={field.required}
    >
      <Input {...props} id={id} />
    </Row>
  );
}
