/** What the launch dialog shows; a function of its model. */
import { HTMLSelect, UseSignal, refreshIcon } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Held, Row, Text, TextRow, timeLimitHelp } from '../shared/form';
import { FieldRow } from './fields';
import type { LaunchModel, Place } from './launchmodel';
import { devicesText } from './state';

interface Props {
  model: LaunchModel;
  trans: TranslationBundle;
}

const EXAMPLE = 'def train(epochs: int = 5, lr: float = 0.1):\n    ...';

function Again({ model, trans }: Props): JSX.Element {
  return (
    <button type="button" className="jp-mod-styled jp-mod-minimal jp-lb-nb-again" onClick={() => void model.look()}>
      <refreshIcon.react tag="span" /> {trans.__('Look again')}
    </button>
  );
}

function Asking({ model, trans }: Props): JSX.Element {
  const text = model.busy
    ? trans.__('The kernel is busy: it answers when the running cells have ended. Wait, or cancel.')
    : trans.__('Asking the kernel for its functions…');
  return (
    <div className="jp-lb-nb-say" role="status">
      <span className="jp-lb-nb-dots" aria-hidden="true" />
      {text}
    </div>
  );
}

function Problem({ model, trans }: Props): JSX.Element {
  return (
    <Held className="jp-lb-nb-say jp-lb-nb-mod-wrong">
      <div role="alert">
        <p>
          <strong>{model.problem!.message}</strong>
        </p>
        {model.problem!.hint && <p>{model.problem!.hint}</p>}
      </div>
      <Again {...{ model, trans }} />
    </Held>
  );
}

function Empty({ model, trans }: Props): JSX.Element {
  return (
    <Held className="jp-lb-nb-say">
      <p>
        <strong>{trans.__('This notebook has no function to launch yet.')}</strong>
      </p>
      <p>{trans.__('Write one in a cell and run it. Every rank will run it; its arguments become a form here.')}</p>
      <pre className="jp-lb-nb-code">{EXAMPLE}</pre>
      <Again {...{ model, trans }} />
    </Held>
  );
}

/** “quiet-otter (2 × cpu, idle, of train.ipynb)”. */
function placeText({ key, row, mine }: Place, trans: TranslationBundle): string {
  if (!key) return trans.__('New devices');
  if (!row) return trans.__('%1 (this notebook’s)', key);
  const state = row.state === 'running' ? trans.__('running: this waits in line') : trans.__('idle');
  const whose = mine
    ? trans.__('this notebook’s')
    : row.owner_alive && row.label
      ? trans.__('taken over from %1', row.label)
      : trans.__('attached');
  return `${key} (${devicesText(row, trans)}, ${state}, ${whose})`;
}

function Devices({ model, trans }: Props): JSX.Element {
  const { options, deviceKinds } = model;
  const { count: problem, time: timeProblem } = model.optionProblems;
  const id = 'jp-lb-nb-count';
  const help = trans.__('One rank runs on each. If they are taken, the cell waits its turn.');
  const timeHelp = timeLimitHelp(trans);
  return (
    <>
      <Row id="jp-lb-nb-place" label={trans.__('Run on')}>
        <HTMLSelect
          id="jp-lb-nb-place"
          value={options.place}
          onChange={event => model.setOption('place', event.target.value)}
        >
          {model.places.map(place => (
            <option key={place.key} value={place.key}>
              {placeText(place, trans)}
            </option>
          ))}
        </HTMLSelect>
      </Row>
      {!options.place && (
        <Row id={id} label={trans.__('Devices')} problem={problem} help={help} required>
          <div className="jp-lb-nb-together">
            <Text
              id={id}
              value={options.count}
              problem={problem}
              help={help}
              required
              numeric
              set={value => model.setOption('count', value)}
            />
            {deviceKinds.length > 1 && (
              <HTMLSelect
                aria-label={trans.__('Kind of device')}
                value={options.deviceKind}
                onChange={event => model.setOption('deviceKind', event.target.value)}
              >
                <option value="">{trans.__('any kind')}</option>
                {deviceKinds.map(kind => (
                  <option key={kind} value={kind}>
                    {kind}
                  </option>
                ))}
              </HTMLSelect>
            )}
          </div>
        </Row>
      )}
      {!options.place && (
        <TextRow
          id="jp-lb-nb-time"
          label={trans.__('Time limit')}
          problem={timeProblem}
          help={timeHelp}
          value={options.time}
          numeric
          set={value => model.setOption('time', value)}
        />
      )}
    </>
  );
}

function Options({ model, trans }: Props): JSX.Element {
  const { restarts: problem } = model.optionProblems;
  const nameHelp = trans.__('Empty: the function’s.');
  const restartsHelp = trans.__('How often a failed run goes on from its latest checkpoint. Empty: never.');
  return (
    <details className="jp-lb-nb-more" open={!!problem || undefined}>
      <summary>{trans.__('Options of the run')}</summary>
      <TextRow
        id="jp-lb-nb-run-name"
        label={trans.__('Name')}
        help={nameHelp}
        value={model.options.name}
        set={value => model.setOption('name', value)}
      />
      <TextRow
        id="jp-lb-nb-restarts"
        label={trans.__('Restarts')}
        problem={problem}
        help={restartsHelp}
        value={model.options.restarts}
        numeric
        set={value => model.setOption('restarts', value)}
      />
    </details>
  );
}

function Arguments({ model, trans }: Props): JSX.Element {
  const { fields, left_out: leftOut } = model.chosen!;
  return (
    <fieldset className="jp-lb-nb-arguments">
      <legend>{trans.__('Arguments')}</legend>
      {fields.map(field => (
        <FieldRow
          key={field.name}
          field={field}
          value={model.valueOf(field.name)}
          problem={model.problemOf(field.name)}
          set={value => model.set(field.name, value)}
          leave={() => model.leave(field.name)}
          trans={trans}
        />
      ))}
      {!fields.length && !leftOut.length && <p className="jp-lb-nb-help">{trans.__('It takes none.')}</p>}
      {!!leftOut.length && (
        <p className="jp-lb-nb-help">
          {trans.__('It also takes %1: write those into the cell afterwards.', leftOut.join(', '))}
        </p>
      )}
    </fieldset>
  );
}

function Ready({ model, trans }: Props): JSX.Element {
  const { found, chosen } = model;
  const option = (name: string, module: string): string => (module === '__main__' ? name : `${name} (${module})`);
  return (
    <Held className="jp-lb-nb-form">
      <Row id="jp-lb-nb-function" label={trans.__('Function')} help={chosen!.doc}>
        <HTMLSelect
          id="jp-lb-nb-function"
          value={chosen!.name}
          aria-describedby={chosen!.doc ? 'jp-lb-nb-function-help' : undefined}
          onChange={event => model.choose(event.target.value)}
        >
          {found!.functions.map(f => (
            <option key={f.name} value={f.name}>
              {option(f.name, f.module)}
            </option>
          ))}
        </HTMLSelect>
      </Row>
      <Arguments key={chosen!.name} {...{ model, trans }} />
      <Devices {...{ model, trans }} />
      <Options {...{ model, trans }} />
      <div className="jp-lb-nb-preview">
        <div className="jp-lb-nb-label" id="jp-lb-nb-preview">
          {model.pending && model.busy
            ? trans.__('The cell (the kernel is busy; it is checked when it is free):')
            : trans.__('The cell that will be inserted and run:')}
        </div>
        <pre className="jp-lb-nb-code" aria-labelledby="jp-lb-nb-preview" tabIndex={0} role="group">
          {model.code}
        </pre>
      </div>
    </Held>
  );
}

export function LaunchBody({ model, trans }: Props): JSX.Element {
  const Part = { asking: Asking, problem: Problem, empty: Empty, ready: Ready };
  return (
    <UseSignal signal={model.changed}>
      {() => {
        const Shown = Part[model.phase];
        return <Shown {...{ model, trans }} />;
      }}
    </UseSignal>
  );
}
