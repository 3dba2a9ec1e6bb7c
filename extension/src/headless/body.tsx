/** What the headless dialog shows. */
import { Clipboard } from '@jupyterlab/apputils';
import { copyIcon, HTMLSelect, refreshIcon, UseSignal } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import { useState } from 'react';
import { Held, Row, Text, TextRow } from '../shared/form';
import type { Changed, ParameterField } from '../tokens';
import type { HeadlessModel } from './model';

export interface Props {
  model: HeadlessModel;
  trans: TranslationBundle;
}

function Problem({ model, trans }: Props): JSX.Element {
  return (
    <Held className="jp-lb-nb-say jp-lb-nb-mod-wrong">
      <div role="alert">
        <p>
          <strong>{trans.__('The notebook cannot be run headless as it is.')}</strong>
        </p>
        <p>{model.problem}</p>
      </div>
      <button type="button" className="jp-mod-styled jp-mod-minimal jp-lb-nb-again" onClick={() => void model.look()}>
        <refreshIcon.react tag="span" /> {trans.__('Look again')}
      </button>
    </Held>
  );
}

/** True, False, or both; else as it is. */
function Switch({ model, field, id, trans }: Props & { field: ParameterField; id: string }): JSX.Element {
  return (
    <HTMLSelect
      id={id}
      value={model.textOf(field.name)}
      onChange={event => model.set(field.name, event.target.value)}
      aria-describedby={field.help ? `${id}-help` : undefined}
    >
      <option value="">{trans.__('%1, as it is', field.default)}</option>
      {['True', 'False', 'True, False'].map(text => (
        <option key={text} value={text}>
          {text === 'True, False' ? trans.__('both') : text}
        </option>
      ))}
    </HTMLSelect>
  );
}

const typeText = ({ kind, type }: ParameterField, trans: TranslationBundle): string =>
  type ||
  {
    int: trans.__('whole number'),
    number: trans.__('number'),
    bool: trans.__('True or False'),
    str: trans.__('text'),
    any: ''
  }[kind];

function Parameter({ model, field, trans }: Props & { field: ParameterField }): JSX.Element {
  const id = `jp-lb-hl-${field.name}`;
  const { problem, values } = model.read(field);
  const help = [field.help, values.length > 1 && !problem ? trans._n('%1 value', '%1 values', values.length) : '']
    .filter(Boolean)
    .join(' · ');
  return (
    <Row id={id} label={field.name} detail={typeText(field, trans)} help={help} problem={problem}>
      {field.kind === 'bool' ? (
        <Switch {...{ model, field, id, trans }} />
      ) : (
        <Text
          id={id}
          value={model.textOf(field.name)}
          set={text => model.set(field.name, text)}
          help={help}
          problem={problem}
          placeholder={field.default}
          code={field.kind === 'any'}
        />
      )}
    </Row>
  );
}

/** What to do where there is no parameters cell. */
function Untagged({ model, trans }: Props): JSX.Element {
  const { cell } = model;
  return (
    <div className="jp-lb-nb-say">
      <p>
        {trans.__(
          'This notebook has no parameters cell, so it can be run once, as it is. To run it over many values, give the cell with the defaults the tag “parameters”: every variable that it sets becomes a field here.'
        )}
      </p>
      {cell === null ? (
        <p>{trans.__('Select that cell in the notebook first; here it can then be tagged by a click.')}</p>
      ) : (
        <>
          <pre className="jp-lb-nb-code" tabIndex={0} role="group" aria-label={trans.__('The selected cell')}>
            {cell}
          </pre>
          <button
            type="button"
            className="jp-mod-styled jp-mod-minimal jp-lb-nb-again"
            onClick={() => void model.tag()}
          >
            {trans.__('Tag the Selected Cell')}
          </button>
        </>
      )}
    </div>
  );
}

function Parameters({ model, trans }: Props): JSX.Element {
  const { tagged, parameters } = model.form;
  if (!tagged) return <Untagged {...{ model, trans }} />;
  return (
    <fieldset className="jp-lb-nb-arguments">
      <legend>{trans.__('Parameters: empty, one value, or several with commas between them')}</legend>
      {parameters.map(field => (
        <Parameter key={field.name} {...{ model, field, trans }} />
      ))}
      {!parameters.length && (
        <p className="jp-lb-nb-help">
          {trans.__(
            'Its parameters cell sets nothing that could be read (name = value): the notebook can be run once, as it is.'
          )}
        </p>
      )}
    </fieldset>
  );
}

function Numbers({ model, trans }: Props): JSX.Element {
  const { options, problems, devices, atOnce } = model;
  const fields = [
    {
      name: 'devices',
      label: trans.__('Devices each'),
      help: devices ? trans.__('Each set’s kernel holds so many; here are %1. 0: none.', devices) : '',
      required: true
    },
    {
      name: 'parallel',
      label: trans.__('At once'),
      help: atOnce
        ? trans._n('Empty: as many as the devices allow, %1.', 'Empty: as many as the devices allow, %1.', atOnce)
        : trans.__('Empty: as many as fit.'),
      required: false
    },
    {
      name: 'repeats',
      label: trans.__('Repeats'),
      help: trans.__(
        'How often each set is run, with another seed where the notebook has a parameter seed or repeat. Empty: once.'
      ),
      required: false
    },
    {
      name: 'retries',
      label: trans.__('Retries'),
      help: trans.__('More attempts for a set that fails. Empty: none.'),
      required: false
    }
  ] as const;
  return (
    <>
      {fields
        .filter(({ name }) => name !== 'parallel' || model.count > 1 || options.parallel)
        .map(({ name, label, help, required }) => (
          <TextRow
            key={name}
            id={`jp-lb-hl-option-${name}`}
            label={label}
            help={help}
            problem={problems[name]}
            required={required}
            value={options[name]}
            set={text => model.setOption(name, text)}
            numeric
          />
        ))}
    </>
  );
}

function More({ model, trans }: Props): JSX.Element {
  const { output, changed } = model.options;
  const folder = model.path.replace(/\.ipynb$/, '-sweep');
  const outputHelp = trans.__(
    'Folder of the executed notebooks. What is done there already is kept: the same again goes on where it was.'
  );
  const changedHelp = trans.__('If sets were done there with other code.');
  return (
    <details className="jp-lb-nb-more">
      <summary>{trans.__('Where the notebooks go')}</summary>
      <TextRow
        id="jp-lb-hl-option-output"
        label={trans.__('Output')}
        help={outputHelp}
        value={output}
        set={text => model.setOption('output', text)}
        placeholder={folder}
      />
      <Row id="jp-lb-hl-option-changed" label={trans.__('Earlier results')} help={changedHelp}>
        <HTMLSelect
          id="jp-lb-hl-option-changed"
          value={changed}
          aria-describedby="jp-lb-hl-option-changed-help"
          onChange={event => model.setOption('changed', event.target.value as Changed)}
        >
          <option value="refuse">{trans.__('do not begin')}</option>
          <option value="keep">{trans.__('keep them')}</option>
          <option value="again">{trans.__('run them again')}</option>
        </HTMLSelect>
      </Row>
    </details>
  );
}

function Command({ model, trans }: Props): JSX.Element {
  const [copied, setCopied] = useState('');
  const { command } = model;
  const copy = (): void => {
    Clipboard.copyToSystem(command);
    setCopied(command);
  };
  return (
    <div className="jp-lb-hl-command">
      <div className="jp-lb-nb-label" id="jp-lb-hl-command">
        {trans.__('The same on a shell:')}
      </div>
      <pre className="jp-lb-nb-code" aria-labelledby="jp-lb-hl-command" tabIndex={0} role="group">
        {command}
      </pre>
      <button type="button" className="jp-mod-styled jp-mod-minimal jp-lb-nb-again" onClick={copy}>
        <copyIcon.react tag="span" /> {copied === command ? trans.__('Copied') : trans.__('Copy')}
      </button>
    </div>
  );
}

/** How many sets it makes. */
function countText({ count, sizes, wrong }: HeadlessModel, trans: TranslationBundle): string {
  if (wrong) return trans.__('What is marked cannot be started like this.');
  if (sizes.length > 1 && count > 1)
    return trans._n('This makes %1 set (%2).', 'This makes %1 sets (%2).', count, sizes.join(' × '));
  return trans._n('This runs the notebook once.', 'This makes %1 sets.', count);
}

function Ready({ model, trans }: Props): JSX.Element {
  return (
    <Held key={String(model.form.tagged)} className="jp-lb-nb-form">
      <Parameters {...{ model, trans }} />
      <div role="status" className="jp-lb-hl-count">
        {countText(model, trans)}
      </div>
      <Numbers {...{ model, trans }} />
      <More {...{ model, trans }} />
      <Command {...{ model, trans }} />
      <div role="alert" className="jp-lb-hl-refused">
        {model.refused && <div className="jp-lb-error">{model.refused}</div>}
      </div>
    </Held>
  );
}

export function HeadlessBody({ model, trans }: Props): JSX.Element {
  return (
    <UseSignal signal={model.changed}>
      {() =>
        model.phase === 'asking' ? (
          <div className="jp-lb-nb-say" role="status">
            {trans.__('Saving the notebook, and reading what it takes…')}
          </div>
        ) : model.phase === 'problem' ? (
          <Problem {...{ model, trans }} />
        ) : (
          <Ready {...{ model, trans }} />
        )
      }
    </UseSignal>
  );
}
