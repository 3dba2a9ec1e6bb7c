/** The headless dialog: what is typed, what it makes, and a server that answers as it is told. */
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { TranslationBundle } from '@jupyterlab/translation';
import { HeadlessModel, type Document } from '../src/headless/model';
import { readLiteral, readValues, shellWord, splitValues, writeValue, writeValues } from '../src/headless/values';
import { BenchModel } from '../src/model';
import type { NotebookForm, ParameterField } from '../src/tokens';
import { FakeNetwork } from './fakes';

const fill = (text: string, given: unknown[]): string => text.replace(/%(\d)/g, (_, n) => String(given[Number(n) - 1]));
const trans = {
  __: (text: string, ...given: unknown[]) => fill(text, given),
  _n: (one: string, many: string, n: number, ...more: unknown[]) => fill(n === 1 ? one : many, [n, ...more])
} as TranslationBundle;
const read = (text: string, kind: ParameterField['kind']) => readValues(text, kind, trans);

test('commas divide, unless they stand in brackets or quotes', () => {
  assert.deepEqual(splitValues('.1, 1e-3,  2'), ['.1', '1e-3', '2']);
  assert.deepEqual(splitValues("[1, 2], (3, 4), {'a': 5, 'b': 6}"), ['[1, 2]', '(3, 4)', "{'a': 5, 'b': 6}"]);
  assert.deepEqual(splitValues(`"a, b", 'it\\'s, so', don't, x`), ['"a, b"', "'it\\'s, so'", "don't", 'x']);
  assert.deepEqual(splitValues(''), ['']);
});

test('a Python literal is read as Python reads it', () => {
  const pairs: [string, unknown][] = [
    ['1_000', 1000],
    ['-.5', -0.5],
    ['1e-3', 0.001],
    ['2.', 2],
    ['True', true],
    ['None', null],
    ["'a\\n'", 'a\n'],
    ['""', ''],
    ['[]', []],
    ['[1, [2, None],]', [1, [2, null]]],
    ['(1, 2)', [1, 2]],
    ['{\'a\': [1], "b": False}', { a: [1], b: false }],
    ['{}', {}]
  ];
  for (const [text, value] of pairs) assert.deepEqual(readLiteral(text), value, text);
  for (const none of ['adam', '1__0', '[1, 2', "'a", '[a]', '1 2', '{1: 2}', 'nan', '12345678901234567890', 'null', ''])
    assert.equal(readLiteral(none), undefined, none);
});

test('a value has to fit its parameter', () => {
  assert.deepEqual(read('.1, 1e-3', 'number'), { values: [0.1, 0.001], problem: '' });
  assert.deepEqual(read('  ', 'number'), { values: [], problem: '' });
  assert.deepEqual(read('32, None', 'int').values, [32, null]);
  assert.deepEqual(read('True, False', 'bool').values, [true, false]);
  assert.deepEqual(read('adam, "a, b", 3', 'str').values, ['adam', 'a, b', '3']);
  assert.deepEqual(read('[32, 64], 5, adam', 'any').values, [[32, 64], 5, 'adam']);
  const wrong: [string, ParameterField['kind'], RegExp][] = [
    ['1.5', 'int', /“1.5” is not a whole/],
    ['fast', 'number', /not a number/],
    ['inf', 'number', /not a number/],
    ['1', 'bool', /neither True/],
    ['.1,,.2', 'number', /missing/],
    ['1,', 'int', /missing/],
    ['[1, 2', 'any', /not Python/],
    ['.1, 0.1', 'number', /0.1 is there twice/],
    ['a, a', 'str', /"a" is there twice/]
  ];
  for (const [text, kind, said] of wrong) assert.match(read(text, kind).problem, said, text);
});

test('what is sent stands on the shell as it was meant', () => {
  assert.equal(writeValues([0.1, 0.01]), '0.1,0.01');
  assert.equal(writeValues(['adam', 'sgd', true, null]), 'adam,sgd,True,None');
  assert.equal(writeValues(['adam', 'a, b']), '"adam","a, b"', 'all or none in quotes: then it is one Python list');
  assert.equal(writeValues(['1']), '"1"', 'a text that looks like a number');
  assert.equal(writeValues([[32, 64], 'x']), '[32, 64],"x"');
  assert.equal(writeValue({ a: [1, 'b'] }), '{"a": [1, "b"]}');
  assert.deepEqual(['lr=0.1,0.01', 'my notebook.ipynb', "it's"].map(shellWord), [
    'lr=0.1,0.01',
    "'my notebook.ipynb'",
    "'it'\\''s'"
  ]);
});

const FORM: NotebookForm = {
  tagged: true,
  parameters: [
    { name: 'lr', default: '0.1', type: '', help: 'of the optimizer', kind: 'number' },
    { name: 'width', default: '32', type: 'int', help: '', kind: 'int' },
    { name: 'augment', default: 'False', type: '', help: '', kind: 'bool' }
  ]
};
let net: FakeNetwork;
let steps: string[];
let model: HeadlessModel;
const document: Document = {
  path: () => 'work/train.ipynb',
  save: async () => void steps.push('save'),
  cell: () => 'lr = .1',
  tag: () => void steps.push('tag')
};

beforeEach(async () => {
  net = new FakeNetwork();
  steps = [];
  net.answer = (method, path) => {
    steps.push(`${method} ${path}`);
    return method === 'GET' ? FORM : { id: 'new' };
  };
  model = new HeadlessModel(document, new BenchModel(net.network), () => 2, trans);
  await model.look();
});

test('the notebook is saved before it is read, and again before it runs', async () => {
  assert.deepEqual([model.phase, model.count, model.atOnce], ['ready', 1, 2]);
  model.set('lr', '.1, .01');
  model.set('width', '32, 64, 128');
  assert.deepEqual([model.count, model.sizes], [6, [2, 3]]);
  assert.equal(model.command, 'lepton-bench sweep work/train.ipynb -p lr=0.1,0.01 -p width=32,64,128 --devices-each 1');
  assert.equal(await model.submit(), 'new');
  assert.deepEqual(steps, ['save', 'GET api/notebooks/parameters?path=work%2Ftrain.ipynb', 'save', 'POST api/sweeps']);
  assert.deepEqual(net.requests[net.requests.length - 1].body, {
    path: 'work/train.ipynb',
    space: { lr: [0.1, 0.01], width: [32, 64, 128] },
    devices_each: 1,
    changed: 'refuse'
  });
});

test('options stand in the command and go to the server', async () => {
  model.setOption('devices', '2');
  model.setOption('parallel', '1');
  model.setOption('repeats', '3');
  model.setOption('retries', '3');
  model.setOption('output', 'my runs');
  model.setOption('changed', 'keep');
  model.set('augment', 'True, False');
  assert.equal(
    model.command,
    "lepton-bench sweep work/train.ipynb -p augment=True,False --devices-each 2 --parallel 1 --repeats 3 --retries 3 --output 'my runs' --changed keep"
  );
  assert.equal(model.count, 6, 'each of two sets three times');
  await model.submit();
  assert.deepEqual(net.requests[net.requests.length - 1].body, {
    path: 'work/train.ipynb',
    space: { augment: [true, false] },
    devices_each: 2,
    parallel: 1,
    repeats: 3,
    retries: 3,
    output: 'my runs',
    changed: 'keep'
  });
});

test('what is wrong is not sent', async () => {
  const sent = net.requests.length;
  model.set('lr', 'fast');
  assert.equal(await model.submit(), null);
  assert.equal(model.command, 'lepton-bench sweep work/train.ipynb --devices-each 1', 'what is wrong is left out');
  model.set('lr', '');
  for (const [name, text] of [
    ['devices', '3'],
    ['devices', ''],
    ['parallel', '0'],
    ['repeats', '0'],
    ['retries', 'often']
  ] as const) {
    model.setOption(name, text);
    assert.ok(model.problems[name], `${name} ${text}`);
    assert.equal(await model.submit(), null);
    model.setOption(name, name === 'devices' ? '1' : '');
  }
  assert.equal(net.requests.length, sent);
});

test('two clicks begin one sweep', async () => {
  const both = await Promise.all([model.submit(), model.submit()]);
  assert.deepEqual(both, ['new', null]);
});

test('what the server refuses is said, and nothing typed is lost', async () => {
  model.set('lr', '.5');
  net.answer = () => {
    throw new Error('the code has changed');
  };
  assert.equal(await model.submit(), null);
  assert.deepEqual(
    [model.refused, model.textOf('lr'), model.sending, model.phase],
    ['the code has changed', '.5', false, 'ready']
  );
  net.answer = () => ({ id: 'late' });
  model.setOption('changed', 'again');
  assert.equal(model.refused, '');
  assert.equal(await model.submit(), 'late');
});

test('a notebook that cannot be read is a problem that can be looked at again; a cell can be tagged', async () => {
  net.answer = () => {
    throw new Error('not a valid notebook');
  };
  await model.look();
  assert.deepEqual([model.phase, model.problem, await model.submit()], ['problem', 'not a valid notebook', null]);
  net.answer = () => ({ tagged: false, parameters: [] });
  await model.look();
  assert.deepEqual([model.phase, model.count, model.cell], ['ready', 1, 'lr = .1']);
  net.answer = () => FORM;
  steps = [];
  await model.tag();
  assert.deepEqual([steps, model.form.tagged], [['tag', 'save'], true]);
});
