/** The form that asks for devices; what it means is in form.ts. */
import { useId, useLayoutEffect, useRef, type ReactNode } from 'react';
import type { DeviceRow } from '../tokens';
import { useBench } from './context';
import type { AllocateForm, Fields } from './form';
import { useFocus, useSignal } from '../shared/hooks';
import { Ago } from './pieces';

function Field({
  label,
  wide,
  children
}: {
  label: string;
  wide?: boolean;
  children: (id: string) => ReactNode;
}): JSX.Element {
  const id = useId();
  return (
    <div className="jp-lb-field" data-wide={wide}>
      <label htmlFor={id}>{label}</label>
      {children(id)}
    </div>
  );
}

function Fieldset({
  form,
  devices,
  id
}: {
  form: AllocateForm;
  devices: ReadonlyMap<string, DeviceRow>;
  id: string;
}): JSX.Element {
  const { trans } = useBench();
  const { fields } = form;
  const first = useRef<HTMLInputElement>(null);
  useFocus(first);
  const slurm = fields.engine === 'slurm';
  const kinds = [...new Set([...devices.values()].map(d => d.kind))];
  if (slurm && !kinds.includes('cuda')) kinds.push('cuda'); // a cluster's devices are not this host's
  if (fields.kind && !kinds.includes(fields.kind as DeviceRow['kind'])) kinds.push(fields.kind as DeviceRow['kind']);
  const free = [...devices.values()].filter(d => d.state === 'free').length;
  const set = (name: keyof Fields) => (event: { target: { value: string } }) =>
    form.edit({ [name]: event.target.value });
  const engines = form.engines.includes(fields.engine) ? form.engines : [...form.engines, fields.engine];
  const text = (name: keyof Fields, hint: string, title?: string) => (key: string) => (
    <input
      {...shared}
      id={key}
      placeholder={hint}
      title={title}
      autoComplete="off"
      spellCheck={false}
      value={fields[name]}
      onChange={set(name)}
    />
  );
  const shared = { className: 'jp-mod-styled', 'aria-describedby': form.error ? id : undefined };
  return (
    <fieldset className="jp-lb-fields" disabled={form.stage !== 'editing'}>
      <Field
        label={devices.size && !slurm ? trans.__('Devices (%1/%2 free)', free, devices.size) : trans.__('Devices')}
      >
        {key => (
          <input
            {...shared}
            id={key}
            ref={first}
            type="number"
            min={1}
            step={1}
            required
            value={fields.count}
            onChange={set('count')}
          />
        )}
      </Field>
      <Field label={trans.__('Kind')}>
        {key => (
          <select {...shared} id={key} value={fields.kind} onChange={set('kind')}>
            <option value="">{trans.__('any')}</option>
            {kinds.map(kind => (
              <option key={kind}>{kind}</option>
            ))}
          </select>
        )}
      </Field>
      {!slurm && (
        <Field label={trans.__('Free memory')}>
          {text('memory', '20GB', trans.__('What each device must have free'))}
        </Field>
      )}
      {!slurm && (
        <Field label={trans.__('Time limit (s)')}>
          {text(
            'limit',
            trans.__('none'),
            trans.__('Seconds after which the devices are given back at the latest: a short request may go first')
          )}
        </Field>
      )}
      {engines.length > 1 && (
        <Field label={trans.__('Engine')}>
          {key => (
            <select {...shared} id={key} value={fields.engine} onChange={set('engine')}>
              {engines.map(engine => (
                <option key={engine}>{engine}</option>
              ))}
            </select>
          )}
        </Field>
      )}
      {slurm && (
        <>
          <Field label={trans.__('Partition')}>{text('partition', trans.__('the usual one'))}</Field>
          <Field label={trans.__('Time limit')}>
            {text('time', '4:00:00', trans.__('Minutes, or hours:minutes:seconds, or days-hours:minutes:seconds'))}
          </Field>
          <Field label={trans.__('Nodes')}>{text('nodes', trans.__('any'), trans.__('Over how many hosts'))}</Field>
          <Field label={trans.__('More sbatch flags')} wide>
            {text('flags', '--exclusive --mem=64G', trans.__('As on a command line'))}
          </Field>
        </>
      )}
      <Field label={trans.__('Name')} wide>
        {text('name', trans.__('made up'))}
      </Field>
    </fieldset>
  );
}

/** How the request stands: the queue, and who is ahead. */
function Waits({ form }: { form: AllocateForm }): JSX.Element {
  const { trans } = useBench();
  const request = form.request;
  return (
    <div className="jp-lb-waits" role="status">
      <strong>
        {trans._n('Waiting for %1 device', 'Waiting for %1 devices', Number(form.fields.count))}
        {request && (
          <>
            {' '}
            · <Ago since={request.created} />
          </>
        )}
      </strong>
      <div>{request?.text || trans.__('Asking…')}</div>
    </div>
  );
}

export function FormView({
  form,
  devices
}: {
  form: AllocateForm;
  devices: ReadonlyMap<string, DeviceRow>;
}): JSX.Element {
  const { bench, trans } = useBench();
  useSignal(bench.connectionChanged);
  const id = useId();
  const node = useRef<HTMLFormElement>(null);
  useLayoutEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    const form = node.current;
    return () => void (form?.contains(document.activeElement) && before?.focus()); // back to what opened it
  }, []);
  const waiting = form.stage === 'waiting';
  return (
    <form
      ref={node}
      className="jp-lb-form"
      aria-label={trans.__('Allocate devices')}
      onSubmit={event => {
        event.preventDefault();
        void form.submit();
      }}
      onKeyDown={event => {
        if (event.key !== 'Escape') return;
        event.stopPropagation();
        form.close();
      }}
    >
      {waiting ? <Waits form={form} /> : <Fieldset form={form} devices={devices} id={id} />}
      {form.kernel && !waiting && (
        <div className="jp-lb-line">
          <span className="jp-lb-cut">{trans.__('Owned by the kernel of %1', form.kernel.label)}</span>
          <button
            type="button"
            className="jp-lb-link"
            disabled={form.stage !== 'editing'}
            onClick={() => form.disown()}
          >
            {trans.__('by nobody')}
          </button>
        </div>
      )}
      <div className="jp-lb-buttons">
        <div id={id} role="alert">
          {form.error && <div className="jp-lb-error">{form.error}</div>}
        </div>
        <button
          type="button"
          className="jp-lb-button jp-mod-styled jp-mod-reject"
          disabled={form.stage === 'sending'}
          onClick={() => (waiting ? void form.cancel() : form.close())}
        >
          {trans.__('Cancel')}
        </button>
        {waiting ? (
          <button type="button" className="jp-lb-button jp-mod-styled jp-mod-accept" onClick={() => form.close()}>
            {trans.__('Go on in the list')}
          </button>
        ) : (
          <button
            type="submit"
            className="jp-lb-button jp-mod-styled jp-mod-accept"
            disabled={form.stage !== 'editing' || !bench.connected}
          >
            {form.stage === 'sending' ? trans.__('Asking…') : trans.__('Allocate')}
          </button>
        )}
      </div>
    </form>
  );
}
