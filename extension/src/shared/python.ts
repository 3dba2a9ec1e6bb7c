/** The cells that a click inserts, and what of a form is not the kernel's to judge; pure. */
import type { TranslationBundle } from '@jupyterlab/translation';

/** How the notebook's variables stand to new code, as the kernel says it. */
export interface Names {
  library: string; // lb
  import: string; // the line that is needed, or nothing
  allocation: string; // a free name
  run: string;
}

/** On what to launch. */
export type Where =
  | { kind: 'held'; name: string; variable: string } // the kernel has it in hand
  | { kind: 'attach'; name: string }
  | { kind: 'new'; count: string; deviceKind: string; time: string };

export interface LaunchForm {
  call: string; // “train, epochs=5”, from the kernel
  where: Where;
  name: string;
  restarts: string;
}

export const UNKNOWN_NAMES: Names = {
  library: 'lb',
  import: 'import lepton_bench as lb',
  allocation: 'alloc',
  run: 'run'
};

/** A text as Python writes it. */
export function pythonText(text: string): string {
  const body = text
    .replace(/\\/g, '\\\\')
    .replace(/\n/g, '\\n')
    .replace(/\r/g, '\\r')
    .replace(/[\0\x07\x08\t\v\f\x1b]/g, c => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return body.includes('"') && !body.includes("'") ? `'${body}'` : `"${body.replace(/"/g, '\\"')}"`;
}

function attachLine(name: string, names: Names): string {
  return `${names.allocation} = ${names.library}.attach(${pythonText(name)})`;
}

/** What makes an allocation known in the kernel. */
export function attachCode(name: string, names: Names): string {
  return [names.import, attachLine(name, names), names.allocation].filter(Boolean).join('\n');
}

function allocationLine(where: Where, names: Names): string {
  if (where.kind === 'held') return '';
  if (where.kind === 'attach') return attachLine(where.name, names);
  const kind = where.deviceKind ? `, kind=${pythonText(where.deviceKind)}` : '';
  const time = where.time.trim() ? `, time=${asSeconds(where.time)}` : '';
  return `${names.allocation} = ${names.library}.allocate(${Number(where.count)}${kind}${time})`;
}

/** The whole cell: it can be run again as it stands. */
export function launchCode(form: LaunchForm, names: Names): string {
  const options = [
    form.name.trim() && `name=${pythonText(form.name.trim())}`,
    Number(form.restarts) > 0 && `max_restarts=${Number(form.restarts)}`
  ].filter(Boolean);
  const allocation = form.where.kind === 'held' ? form.where.variable : names.allocation;
  const launcher = options.length ? `${allocation}.options(${options.join(', ')})` : allocation;
  const line = allocationLine(form.where, names);
  return [line && names.import, line, `${names.run} = ${launcher}.launch(${form.call})`, names.run]
    .filter(Boolean)
    .join('\n');
}

/** A whole number in a field: what is wrong with it, or nothing. */
export function checkWhole(text: string, least: number, trans: Pick<TranslationBundle, '__'>, most = Infinity): string {
  const value = Number(text);
  if (!/^\d+$/.test(text.trim())) return trans.__('Write a whole number, such as %1.', Math.max(least, 1));
  if (value < least) return trans.__('At least %1.', least);
  return value > most ? trans.__('There are only %1.', most) : '';
}

/** Memory as lb.allocate takes it: “20GB”; empty is none asked. */
export function checkMemory(text: string, trans: Pick<TranslationBundle, '__'>): string {
  return /^\s*(\d+(\.\d*)?\s*[KMGT]?i?B?)?\s*$/i.test(text) ? '' : trans.__('Write a size, such as 20GB.');
}

const SECONDS = /^\s*(\d+(\.\d*)?|\.\d+)\s*$/;

/** Seconds as a number; what is none as it was typed. */
export const asSeconds = (text: string): number | string => (SECONDS.test(text) ? Number(text) : text.trim());

/** A time limit as lb.allocate takes it; empty is none. */
export function checkSeconds(text: string, trans: Pick<TranslationBundle, '__'>): string {
  const value = asSeconds(text);
  if (!value && value !== 0) return '';
  return typeof value === 'number' && value > 0 && value < LONGEST
    ? ''
    : trans.__('Not a number of seconds above 0: 3600 gives the devices back after an hour at the latest.');
}

const LONGEST = 1e10; // seconds, as in the library

/** What the launch options lack; the kernel judges the arguments. */
export function checkForm(
  form: Pick<LaunchForm, 'where' | 'restarts'>,
  devices: number,
  trans: Pick<TranslationBundle, '__'>
): Record<'count' | 'time' | 'restarts', string> {
  return {
    count: form.where.kind === 'new' ? checkWhole(form.where.count, 1, trans, devices || Infinity) : '',
    time: form.where.kind === 'new' ? checkSeconds(form.where.time, trans) : '',
    restarts: form.restarts.trim() ? checkWhole(form.restarts, 0, trans) : ''
  };
}
