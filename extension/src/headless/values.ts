/** Values as a person types them, as JSON takes them, and as a shell does; pure. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { pythonText } from '../shared/python';
import type { ParameterField } from '../tokens';

type Translate = Pick<TranslationBundle, '__'>;

export type Value = null | boolean | number | string | Value[] | { [name: string]: Value };

const WHOLE = /^[+-]?\d(_?\d)*$/;
const NUMBER = /^[+-]?(\d(_?\d)*\.?|(\d(_?\d)*)?\.\d(_?\d)*)(e[+-]?\d+)?$/i;
const WORDS: Record<string, Value> = { None: null, True: true, False: false };
const PAIRS: Record<string, string> = { '[': ']', '(': ')', '{': '}' };

/** Cut at the commas that stand neither in brackets nor in quotes. */
export function splitValues(text: string): string[] {
  const parts: string[] = [];
  let [part, quote, depth] = ['', '', 0];
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quote) {
      if (c === '\\') part += text[i++];
      else if (c === quote) quote = '';
    } else if ((c === '"' || c === "'") && (depth || !part.trim())) quote = c;
    else if (c in PAIRS) depth++;
    else if (depth && Object.values(PAIRS).includes(c)) depth--;
    else if (c === ',' && !depth) {
      parts.push(part.trim());
      part = '';
      continue;
    }
    part += text[i] ?? '';
  }
  return [...parts, part.trim()];
}

/** A number, or undefined where there is none that JSON could hold. */
function readNumber(text: string): number | undefined {
  if (!NUMBER.test(text)) return undefined;
  const found = Number(text.replace(/_/g, ''));
  return Number.isFinite(found) && !(WHOLE.test(text) && !Number.isSafeInteger(found)) ? found : undefined;
}

const ESCAPES: Record<string, string> = { n: '\n', t: '\t', r: '\r', '\\': '\\', "'": "'", '"': '"', '\n': '' };

/** What stands between quotes; undefined: it is not all between quotes. */
function readText(text: string): string | undefined {
  const found = /^(['"])((?:\\[\s\S]|(?!\1)[^\\])*)\1$/.exec(text);
  return found?.[2].replace(/\\([\s\S])/g, (all, c: string) => ESCAPES[c] ?? all);
}

/** A Python literal; undefined: it is none, or JSON could not hold it. */
export function readLiteral(given: string): Value | undefined {
  const text = given.trim();
  if (text in WORDS) return WORDS[text];
  const simple = readNumber(text) ?? readText(text);
  if (simple !== undefined) return simple;
  const close = PAIRS[text[0]];
  if (!close || text[text.length - 1] !== close || text.length < 2) return undefined;
  const parts = splitValues(text.slice(1, -1));
  if (!parts[parts.length - 1]) parts.pop(); // [1, 2,] and []
  return text[0] === '{' ? readPairs(parts) : readItems(parts);
}

function readItems(parts: string[]): Value[] | undefined {
  const found = parts.map(readLiteral);
  return found.includes(undefined) ? undefined : (found as Value[]);
}

function readPairs(parts: string[]): Value | undefined {
  const found: [string, Value][] = [];
  for (const part of parts) {
    const pair = /^('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")\s*:([\s\S]*)$/.exec(part);
    const [name, value] = pair ? [readText(pair[1]), readLiteral(pair[2])] : [];
    if (name === undefined || value === undefined) return undefined;
    found.push([name, value]);
  }
  return Object.fromEntries(found);
}

/** One value of a kind; a string in `problem` says why it is none. */
function readOne(text: string, kind: ParameterField['kind'], trans: Translate): { value?: Value; problem?: string } {
  if (!text) return { problem: trans.__('A value is missing between the commas; an empty text is "".') };
  if (text === 'None') return { value: null };
  const literal = readLiteral(text);
  const as = (value: Value | undefined, problem: string): { value?: Value; problem?: string } =>
    value === undefined ? { problem } : { value };
  if (kind === 'int')
    return as(WHOLE.test(text) ? readNumber(text) : undefined, trans.__('“%1” is not a whole number.', text));
  if (kind === 'number') return as(readNumber(text), trans.__('“%1” is not a number.', text));
  if (kind === 'bool')
    return as(typeof literal === 'boolean' ? literal : undefined, trans.__('“%1” is neither True nor False.', text));
  const quoted = readText(text);
  if (kind === 'str') return { value: quoted ?? text };
  return literal === undefined && /^[[({'"]/.test(text)
    ? { problem: trans.__('“%1” is not Python.', text) }
    : { value: literal ?? (literal === null ? null : text) };
}

export interface Read {
  values: Value[]; // none: as it is
  problem: string;
}

/** What was typed for one parameter; nothing typed leaves it as it is. */
export function readValues(text: string, kind: ParameterField['kind'], trans: Translate): Read {
  if (!text.trim()) return { values: [], problem: '' };
  const found = splitValues(text).map(part => readOne(part, kind, trans));
  const problem = found.find(one => one.problem)?.problem;
  if (problem) return { values: [], problem };
  const values = found.map(one => one.value as Value);
  const words = values.map(value => JSON.stringify(value));
  const twice = words.findIndex((word, i) => words.indexOf(word) < i);
  return { values, problem: twice < 0 ? '' : trans.__('%1 is there twice.', writeValue(values[twice])) };
}

/** As Python writes it. */
export function writeValue(value: Value): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'string') return pythonText(value);
  if (typeof value === 'number') return String(value);
  if (Array.isArray(value)) return `[${value.map(writeValue).join(', ')}]`;
  return `{${Object.entries(value)
    .map(([name, inner]) => `${pythonText(name)}: ${writeValue(inner)}`)
    .join(', ')}}`;
}

/** A text that the shell command takes for one without quotes. */
const plainText = (value: Value): boolean =>
  typeof value === 'string' && /^[a-z_][\w./-]*$/i.test(value) && !/^(none|true|false|nan|inf(inity)?)$/i.test(value);

/** What stands behind the = of -p. */
export function writeValues(values: Value[]): string {
  const bare = values.every(
    value => plainText(value) || ['number', 'boolean'].includes(typeof value) || value === null
  );
  return values.map(value => (bare && typeof value === 'string' ? value : writeValue(value))).join(',');
}

/** One word of a shell. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replace(/'/g, `'\\''`)}'`;
}
