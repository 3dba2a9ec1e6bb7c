/** What a kernel is asked, and what its answer means; pure. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Names } from '../shared/python';

type Translate = Pick<TranslationBundle, '__'>;

/** One argument, as lepton_bench.jupyter.forms describes it. */
export interface Field {
  name: string;
  kind: 'int' | 'float' | 'bool' | 'str' | 'choice' | 'literal';
  default: string;
  required: boolean;
  help: string;
  choices: string[];
  annotation: string;
  optional: boolean;
  initial: string; // what stands in the form before anybody types
}

export interface Launchable {
  name: string;
  doc: string;
  module: string;
  fields: Field[];
  left_out: string[]; // *args, **kwargs
}

export interface Introspection {
  version: string;
  functions: Launchable[];
  held: Record<string, string>; // allocation -> variable
  names: Names;
}

export interface Filled {
  call: string;
  problems: Record<string, string>;
  gone: boolean; // the function is no longer there
}

export type Value = string | boolean;

const MODULE = "__import__('lepton_bench.jupyter.introspection', fromlist=['x'])";

/** A JSON string is a Python string too. */
export const EXPRESSIONS = {
  introspect: (): string => `${MODULE}.introspect(globals())`,
  fill: (name: string, values: Record<string, Value>): string =>
    `${MODULE}.fill(globals(), ${JSON.stringify(name)}, ${JSON.stringify(JSON.stringify(values))})`,
  begun: (variable: string): string => `${MODULE}.begun(globals(), ${JSON.stringify(variable)})`
};

/** Why a kernel cannot answer; the message is for a person. */
export class KernelError extends Error {
  constructor(
    message: string,
    readonly hint = ''
  ) {
    super(message);
  }
}

interface Reply {
  status: string;
  ename?: string;
  evalue?: string;
  user_expressions?: Record<string, unknown>;
}

interface Outcome {
  status?: string;
  ename?: string;
  evalue?: string;
  data?: Record<string, unknown>;
}

/** What is in a reply to an execute request that had one expression, `answer`. */
export function readReply<T>(reply: Reply, trans: Translate): T {
  if (reply.status !== 'ok') throw whyNot(reply, trans);
  const outcome = (reply.user_expressions?.answer ?? {}) as Outcome;
  if (outcome.status === 'error') throw whyNot(outcome, trans);
  const content = outcome.data?.['application/json'];
  if (content === undefined)
    throw new KernelError(trans.__('The kernel’s answer makes no sense.'), trans.__('It has to be an IPython kernel.'));
  return content as T;
}

function whyNot({ ename, evalue }: Outcome, trans: Translate): KernelError {
  if (ename === 'ModuleNotFoundError' && /'lepton_bench'/.test(evalue ?? '')) {
    return new KernelError(
      trans.__('lepton_bench is not installed in the environment of this notebook’s kernel.'),
      trans.__(
        'Run “%pip install lepton_bench” in a cell, restart the kernel, and look again. Or choose another kernel.'
      )
    );
  }
  if (ename === 'ModuleNotFoundError' && /'lepton_bench\./.test(evalue ?? '')) {
    return new KernelError(
      trans.__('The lepton_bench in this notebook’s kernel is too old for this dialog.'),
      trans.__('Run “%pip install --upgrade lepton_bench” in a cell, restart the kernel, and look again.')
    );
  }
  if (ename === 'KeyboardInterrupt')
    return new KernelError(trans.__('The kernel was interrupted before it could answer.'));
  return new KernelError(trans.__('The kernel could not answer.'), [ename, evalue].filter(Boolean).join(': '));
}

/** What is sent: what was touched, and every switch, since a switch always says something. */
export function valuesToSend(fields: Field[], values: Record<string, Value>): Record<string, Value> {
  const sent: Record<string, Value> = {};
  for (const field of fields) {
    const value = values[field.name] ?? startOf(field);
    if (field.kind === 'bool' || (value !== field.initial && (value !== '' || field.initial !== '')))
      sent[field.name] = value;
  }
  return sent;
}

export function startOf(field: Field): Value {
  return field.kind === 'bool' ? field.initial === 'True' : field.initial;
}
