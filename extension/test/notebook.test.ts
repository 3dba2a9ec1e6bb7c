import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXPRESSIONS, type KernelError, readReply, startOf, valuesToSend, type Field } from '../src/notebook/answers';
import {
  UNKNOWN_NAMES,
  attachCode,
  checkForm,
  checkMemory,
  checkSeconds,
  checkWhole,
  launchCode,
  pythonText,
  type Names
} from '../src/shared/python';
import { countAhead, percent, sayState, stateOf } from '../src/notebook/state';
import type { AllocationRow, RequestRow, RunRow } from '../src/tokens';

const fill = (text: string, values: unknown[]): string =>
  text.replace(/%(\d)/g, (_, n: string) => String(values[Number(n) - 1]));
const trans = {
  __: (text: string, ...values: unknown[]) => fill(text, values),
  _n: (one: string, many: string, n: number, ...more: unknown[]) => fill(n === 1 ? one : many, [n, ...more])
} as never;

const allocation = (name: string, more: Partial<AllocationRow> = {}): AllocationRow => ({
  key: name,
  name,
  state: 'idle',
  count: 2,
  kind: null,
  device_kind: 'cpu',
  devices: ['cpu-0', 'cpu-1'],
  labels: ['cpu 0', 'cpu 1'],
  label: 'a.ipynb',
  owner_alive: true,
  mine_kernel: 'k',
  created: 1,
  idle_since: 1,
  run: null,
  queue: [],
  warning: '',
  broken: null,
  ranks: [],
  engine: 'local',
  job: null,
  missing: null,
  once: false,
  ...more
});
const request = (more: Partial<RequestRow> = {}): RequestRow => ({
  key: 'r',
  id: 'r',
  name: 'shy-fox',
  count: 2,
  kind: null,
  state: 'waiting',
  text: '',
  created: 1,
  allocation: null,
  kernel: 'k',
  run: null,
  ...more
});
const run = (more: Partial<RunRow> = {}): RunRow =>
  ({ key: '1', id: '1', name: 'train', progress: { done: 9, total: 20 }, ...more }) as RunRow;
const said = (kernel: string | null, allocations: AllocationRow[], requests: RequestRow[] = [], runs: RunRow[] = []) =>
  sayState(stateOf(kernel, allocations, requests), new Map(runs.map(r => [r.id, r])), trans);

test('the toolbar says what the notebook’s kernel holds', () => {
  assert.deepEqual([said('k', []).mood, said('k', []).text], ['none', 'no devices']);
  assert.equal(said('k', [allocation('quiet-otter')]).text, '2 × cpu · quiet-otter · idle');
  assert.equal(said('other', [allocation('quiet-otter')]).text, 'no devices', 'of another kernel');
  assert.equal(
    said(null, [allocation('quiet-otter', { mine_kernel: null })]).text,
    'no devices',
    'no kernel owns nothing'
  );
  const running = said('k', [allocation('quiet-otter', { state: 'running', run: '1' })], [], [run()]);
  assert.deepEqual([running.mood, running.text], ['running', '2 × cpu · running train 45 %']);
  assert.equal(
    said('k', [allocation('quiet-otter', { state: 'running', run: '1' })]).text,
    '2 × cpu · running a run',
    'the table of runs is not there yet'
  );
  assert.equal(
    said('k', [allocation('a', { created: 1 }), allocation('b', { created: 2 })]).text,
    '2 × cpu · b · idle +1',
    'the newest'
  );
  assert.equal(said('k', [allocation('a', { broken: 'rank 1 is stuck' })]).mood, 'broken');
  assert.match(
    said('k', [allocation('a', { warning: 'idle for 50 minutes', queue: ['2'] })]).title,
    /a: cpu 0, cpu 1\n1 run waits in line\nidle for 50 minutes/
  );
});

test('who waits for devices reads how many are ahead', () => {
  const text = 'waiting for 2 devices: 0 of 2 free; ahead: ada wants 2 devices, waiting for 3 s\n  cpu-0 is held';
  assert.deepEqual(
    [said('k', [], [request({ text })]).text, said('k', [], [request({ text })]).title],
    ['waiting: 1 ahead', text]
  );
  assert.equal(said('k', [], [request({ text: 'waiting for 2 devices: 1 of 2 free' })]).text, 'waiting for 2 devices');
  assert.equal(
    said('k', [allocation('a')], [request({ kind: 'cuda' })]).text,
    'waiting for 2 × cuda',
    'before what is held'
  );
  assert.equal(said('k', [], [request({ state: 'failed' })]).text, 'no devices');
  assert.equal(said('k', [], [request({ kernel: 'other' })]).text, 'no devices');
  assert.equal(countAhead('x: 0 of 2 free; ahead: a; ahead: b; ahead: c and 4 more\n…'), 7);
});

test('others’ allocations are those that can be attached', () => {
  const rows = [
    allocation('mine'),
    allocation('idle', { mine_kernel: null }),
    allocation('line', { mine_kernel: 'x', state: 'waiting' }),
    allocation('shell', { mine_kernel: null, once: true })
  ];
  assert.deepEqual(
    stateOf('k', rows, []).others.map(r => r.name),
    ['idle']
  );
});

test('what a dead kernel held is still this notebook’s', () => {
  const rows = [
    allocation('a', { mine_kernel: null, owner_alive: false, label: 'JupyterLab' }),
    allocation('b', { mine_kernel: null, owner_alive: false, label: 'b.ipynb' }),
    allocation('c', { mine_kernel: null, owner_alive: null })
  ];
  const state = stateOf('k', rows, [], { seen: new Set(['a', 'c']), label: 'b.ipynb' });
  assert.deepEqual([state.left.map(r => r.name), state.others.map(r => r.name)], [['a', 'b'], ['c']]);
  assert.deepEqual(
    [sayState(state, new Map(), trans).mood, sayState(state, new Map(), trans).text],
    ['left', '2 × cpu · a · idle · not attached']
  );
});

test('progress that makes no sense is none', () => {
  assert.equal(percent(run({ progress: { done: 5, total: 0 } })), null);
  assert.equal(percent(run({ progress: { done: 50, total: 20 } })), 100);
  assert.equal(percent(undefined), null);
});

const known: Names = { library: 'lb', import: '', allocation: 'alloc', run: 'run' };
const form = {
  call: 'train, epochs=5',
  where: { kind: 'held', name: 'quiet-otter', variable: 'alloc' } as const,
  name: '',
  restarts: ''
};

test('the cell that is inserted has what is needed and nothing else', () => {
  assert.equal(launchCode(form, known), 'run = alloc.launch(train, epochs=5)\nrun');
  assert.equal(
    launchCode({ ...form, where: { kind: 'attach', name: 'quiet-otter' } }, known),
    'alloc = lb.attach("quiet-otter")\nrun = alloc.launch(train, epochs=5)\nrun'
  );
  assert.equal(
    launchCode(
      { ...form, call: 'train', where: { kind: 'new', count: ' 2', deviceKind: '', time: '' } },
      UNKNOWN_NAMES
    ),
    'import lepton_bench as lb\nalloc = lb.allocate(2)\nrun = alloc.launch(train)\nrun'
  );
  assert.equal(
    launchCode(
      { ...form, where: { kind: 'new', count: '1', deviceKind: 'cuda', time: ' 90 ' }, name: "Ada's", restarts: '3' },
      { library: 'lepton_bench', import: '', allocation: 'alloc_2', run: 'run_2' }
    ),
    `alloc_2 = lepton_bench.allocate(1, kind="cuda", time=90)\nrun_2 = alloc_2.options(name="Ada's", max_restarts=3).launch(train, epochs=5)\nrun_2`
  );
  assert.equal(launchCode({ ...form, restarts: '0', name: '  ' }, known), launchCode(form, known));
  assert.equal(
    attachCode('quiet-otter', UNKNOWN_NAMES),
    'import lepton_bench as lb\nalloc = lb.attach("quiet-otter")\nalloc'
  );
  assert.equal(attachCode('quiet-otter', known), 'alloc = lb.attach("quiet-otter")\nalloc');
});

test('a text of Python cannot leave its quotes', () => {
  assert.equal(pythonText('a\'b"c\\d\ne'), '"a\'b\\"c\\\\d\\ne"');
  assert.equal(pythonText("it's"), '"it\'s"');
  assert.equal(pythonText('say "x"'), `'say "x"'`);
  assert.equal(pythonText('\0'), '"\\x00"');
});

test('what is wrong with the options is said at the option', () => {
  assert.equal(checkWhole('2', 1, trans, 4), '');
  assert.match(checkWhole('two', 1, trans), /whole number/);
  assert.match(checkWhole('1.5', 1, trans), /whole number/);
  assert.match(checkWhole('0', 1, trans), /At least 1/);
  assert.match(checkWhole('9', 1, trans, 4), /only 4/);
  assert.deepEqual(
    ['', '20GB', '1.5 GiB', '4000000'].map(t => checkMemory(t, trans)),
    ['', '', '', '']
  );
  assert.match(checkMemory('much', trans), /20GB/);
  assert.deepEqual(
    checkForm({ where: { kind: 'new', count: '', deviceKind: '', time: '1:00' }, restarts: '-1' }, 2, trans),
    {
      count: 'Write a whole number, such as 1.',
      time: 'Not a number of seconds above 0: 3600 gives the devices back after an hour at the latest.',
      restarts: 'Write a whole number, such as 1.'
    }
  );
  assert.deepEqual(checkForm({ where: form.where, restarts: '' }, 2, trans), { count: '', time: '', restarts: '' });
  assert.deepEqual(
    ['', ' ', '3600', ' .5 ', '1.'].map(t => checkSeconds(t, trans)),
    ['', '', '', '', '']
  );
  for (const wrong of ['0', '-3', '1e3', 'nan', 'Infinity', '0x10', '1:00:00', '1h', '10000000000'])
    assert.match(checkSeconds(wrong, trans), /number of seconds above 0/, wrong);
});

const field = (more: Partial<Field>): Field => ({
  name: 'x',
  kind: 'str',
  default: "'sgd'",
  required: false,
  help: '',
  choices: [],
  annotation: '',
  optional: false,
  initial: 'sgd',
  ...more
});

test('only what was touched is sent, and every switch', () => {
  const fields = [
    field({}),
    field({ name: 'n', kind: 'int', default: '5', initial: '5' }),
    field({ name: 'b', kind: 'bool', default: 'True', initial: 'True' }),
    field({ name: 'r', required: true, default: '', initial: '' })
  ];
  assert.deepEqual(valuesToSend(fields, {}), { b: true });
  assert.deepEqual(
    valuesToSend(fields, { x: '', n: '5', b: false, r: '' }),
    { x: '', b: false },
    'an emptied text is a text'
  );
  assert.equal(startOf(fields[2]), true);
});

test('an expression holds any text', () => {
  assert.ok(
    EXPRESSIONS.fill('train', { s: 'a"b\\' }).endsWith(String.raw`.fill(globals(), "train", "{\"s\":\"a\\\"b\\\\\"}")`)
  );
});

test('an answer is read, and what stands in its way is said for a person', () => {
  const answer = (outcome: object) => ({ status: 'ok', user_expressions: { answer: outcome } });
  assert.deepEqual(readReply(answer({ status: 'ok', data: { 'application/json': { call: 'x' } } }), trans), {
    call: 'x'
  });
  const hint = (outcome: object, pattern: RegExp): void =>
    assert.throws(
      () => readReply(answer({ status: 'error', ...outcome }), trans),
      (e: KernelError) => pattern.test(`${e.message} ${e.hint}`)
    );
  hint(
    { ename: 'ModuleNotFoundError', evalue: "No module named 'lepton_bench'" },
    /not installed.*%pip install lepton_bench/
  );
  hint(
    { ename: 'ModuleNotFoundError', evalue: "No module named 'lepton_bench.jupyter.introspection'" },
    /too old.*--upgrade/
  );
  hint(
    { ename: 'ModuleNotFoundError', evalue: "No module named 'torch'" },
    /ModuleNotFoundError: No module named 'torch'/
  );
  assert.throws(() => readReply({ status: 'error', ename: 'KeyboardInterrupt', evalue: '' }, trans), /interrupted/);
  assert.throws(() => readReply(answer({ status: 'ok', data: { 'text/plain': 'x' } }), trans), /makes no sense/);
});
