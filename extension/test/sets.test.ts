/** The table and the plot of a sweep. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scaleOf, ticksOf } from '../src/dashboard/scatter';
import { columnsOf, nextSorting, setsCsv, setsOf, sortSets } from '../src/dashboard/sets';
import type { RunRow } from '../src/tokens';

const set = (id: string, more: Partial<RunRow>): RunRow =>
  ({
    key: id,
    id,
    kind: 'notebook',
    name: 'train',
    parent: 's',
    status: 'done',
    created: Number(id),
    started: 100,
    ended: 110,
    arguments: '',
    reason: null,
    parameters: {},
    values: {},
    ...more
  }) as RunRow;
const rows = [
  set('2', { parameters: { lr: 0.01, kind: 'sgd' }, values: { loss: 0.5 }, ended: 103 }),
  set('1', { parameters: { lr: 0.1, kind: 'adam' }, values: { loss: 0.25, 'a, b': 'x' } }),
  set('3', {
    parameters: { lr: 0.001, kind: 'adam' },
    status: 'failed',
    reason: 'it said "no"',
    output: 'out/3.ipynb'
  }),
  set('4', { parent: 'other' }),
  set('5', { parameters: { lr: 1, kind: null }, values: { loss: 'nan' }, status: 'running', ended: null })
];
const sets = setsOf(rows, 's');
const columns = columnsOf(sets, 200);
const order = (key: string, down = false): string =>
  sortSets(sets, columns, { key, down })
    .map(r => r.id)
    .join('');

test('the columns are what was given, what was recorded, and how it went', () => {
  assert.equal(sets.map(r => r.id).join(''), '1235', 'in the order in which they were begun');
  assert.deepEqual(
    columns.map(c => `${c.group} ${c.name}`),
    ['parameter lr', 'parameter kind', 'value loss', 'value a, b', 'fact status', 'fact duration']
  );
});

test('sorted by a column, what is missing comes last either way', () => {
  assert.deepEqual([order('p lr'), order('p lr', true)], ['3215', '5123']);
  assert.deepEqual([order('v loss'), order('v loss', true)], ['1235', '2135']);
  assert.deepEqual(
    [order('p kind'), order('duration'), order('status'), order('nothing')],
    ['1325', '2135', '1235', '1235']
  );
  assert.deepEqual(
    [
      nextSorting({ key: '', down: false }, 'a'),
      nextSorting({ key: 'a', down: false }, 'a'),
      nextSorting({ key: 'a', down: true }, 'a'),
      nextSorting({ key: 'a', down: true }, 'b')
    ],
    [
      { key: 'a', down: false },
      { key: 'a', down: true },
      { key: '', down: false },
      { key: 'b', down: false }
    ]
  );
});

test('the file that a table can be saved as', () => {
  const lines = setsCsv(sets, columns).split('\r\n');
  assert.equal(lines[0], 'run,lr,kind,loss,"a, b",status,duration,notebook,reason');
  assert.equal(lines[1], '1,0.1,adam,0.25,x,done,10,,');
  assert.equal(lines[3], '3,0.001,adam,,,failed,10,out/3.ipynb,"it said ""no"""');
});

test('ticks are round numbers', () => {
  assert.deepEqual(ticksOf(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(ticksOf(32, 256), [50, 100, 150, 200, 250]);
  assert.deepEqual(ticksOf(-0.1, 0.1), [-0.1, -0.05, 0, 0.05, 0.1]);
});

test('numbers stand along a line, wide ones on a logarithmic one, words side by side', () => {
  const plain = scaleOf([1, 2, 3]);
  assert.deepEqual([plain.log, plain.place(2), plain.place(1) > 0, plain.place(3) < 1], [false, 0.5, true, true]);
  const wide = scaleOf([0.001, 0.1]);
  assert.deepEqual(
    [wide.log, wide.place(0.01).toFixed(3), wide.ticks.map(t => t.text)],
    [true, '0.500', ['0.001', '0.1']],
    'a tick at each of few numbers'
  );
  assert.deepEqual(
    scaleOf([0.001, 0.1], { own: false }).ticks.map(t => t.text),
    ['0.001', '0.01', '0.1']
  );
  assert.deepEqual(
    scaleOf([1, 1.01, 4]).ticks.map(t => t.text),
    ['1', '2', '3', '4'],
    'not where they would cover each other'
  );
  assert.equal(scaleOf([0.3, 6], { wide: 100 }).log, false);
  assert.equal(scaleOf([0, 100]).log, false, 'zero has no logarithm');
  const words = scaleOf(['adam', 'sgd', 'adam', true, null]);
  assert.deepEqual(
    words.ticks.map(t => [t.text, t.at]),
    [
      ['adam', 0.125],
      ['sgd', 0.375],
      ['True', 0.625],
      ['None', 0.875]
    ]
  );
  assert.equal(scaleOf([5, 5]).place(5), 0.5);
  assert.deepEqual(scaleOf([0]).place(0), 0.5);
});
