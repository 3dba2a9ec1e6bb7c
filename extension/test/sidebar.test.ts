import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';
import type { TranslationBundle } from '@jupyterlab/translation';
import { BenchModel } from '../src/model';
import { countRuns, isResumable, sortRuns } from '../src/shared/runs';
import { AllocateForm } from '../src/sidebar/form';
import { bytes, cellsText, duration, given, setsText, share, timeLeft, value } from '../src/shared/format';
import { lastMinutes, path, summary } from '../src/sidebar/history';
import { arrange, childrenOf, isOpen, parentOf } from '../src/sidebar/tree';
import { inSight, reveal, step } from '../src/shared/window';
import { summarize } from '../src/statusbar/summary';
import { argumentsOf } from '../src/commands/arguments';
import type { AllocationRow, DeviceRow, RunRow } from '../src/tokens';
import { FakeNetwork } from './fakes';

const fill = (text: string, given: unknown[]): string => text.replace(/%(\d)/g, (_, n) => String(given[Number(n) - 1]));
const trans = {
  __: (text: string, ...given: unknown[]) => fill(text, given),
  _n: (one: string, many: string, n: number, ...more: unknown[]) => fill(n === 1 ? one : many, [n, ...more])
} as TranslationBundle;
const run = (id: string, more: Partial<RunRow> = {}): RunRow =>
  ({ key: id, id, name: 'train', status: 'done', created: 0, arguments: '', allocation: null, ...more }) as RunRow;

test('sizes, durations and values as a person reads them', () => {
  assert.deepEqual([0, 999, 1000, 12_345_678, 80e9, 250e9].map(bytes), [
    '0 B',
    '999 B',
    '1.0 kB',
    '12.3 MB',
    '80.0 GB',
    '250 GB'
  ]);
  assert.equal(bytes(null), '');
  assert.deepEqual(
    [-3, 0.4, 59, 60, 3600, 12_000, 86_400, 190_000].map(s => duration(s, trans)),
    ['0 s', '0 s', '59 s', '1 min', '1 h', '3 h 20 min', '1 d', '2 d 4 h']
  );
  assert.deepEqual([5, 0.123456, 1e-9, 123456.7, NaN, 'inf'].map(value), [
    '5',
    '0.1235',
    '1.00e-9',
    '1.23e+5',
    'NaN',
    'inf'
  ]);
});

test('time left at the pace so far; nothing where nothing can be said', () => {
  assert.equal(timeLeft({ done: 25, total: 100 }, 1000, 1010), 30);
  assert.equal(timeLeft({ done: 120, total: 100 }, 1000, 1010), 0);
  for (const nothing of [
    timeLeft(null, 0, 1),
    timeLeft({ done: 0, total: 9 }, 0, 1),
    timeLeft({ done: 1, total: 9 }, null, 1),
    timeLeft({ done: 1, total: null }, 0, 1)
  ])
    assert.equal(nothing, null);
  assert.deepEqual([share(1, 4), share(5, 4), share(-1, 4), share(null, 4), share(1, 0)], [0.25, 1, 0, 0, 0]);
});

test('runs: the newest first, found by words and by status', () => {
  const rows = sortRuns([
    run('a', { created: 1 }),
    run('b', { created: 3, status: 'running', arguments: 'lr=0.1, Epochs=5' }),
    run('c', { created: 3, name: 'evaluate', status: 'waiting' })
  ]);
  const ids = (text: string, status: '' | 'going' | 'done' = ''): string =>
    arrange(rows, { text, status }, new Map())
      .lines.map(({ row }) => row.id)
      .join('');
  assert.equal(ids(''), 'cba');
  assert.equal(ids('epochs TRAIN'), 'b');
  assert.equal(ids('', 'going'), 'cb');
  assert.equal(ids('train', 'done'), 'a');
  assert.equal(ids('nothing like it'), '');
  assert.equal(ids('  '), 'cba');
  assert.deepEqual(countRuns(rows), { all: 3, going: 2 });
});

const sweep = run('s', {
  kind: 'sweep',
  name: 'night',
  status: 'running',
  created: 2,
  arguments: "{'lr': [0.1, 0.01]}"
});
const set = (id: string, words: string, more: Partial<RunRow> = {}): RunRow =>
  run(id, { kind: 'notebook', name: 'night', parent: 's', arguments: words, created: 3, ...more });
const night = sortRuns([
  run('a', { created: 1 }),
  sweep,
  set('t1', 'lr=0.1', { status: 'failed' }),
  set('t2', 'lr=0.01'),
  run('u', { parent: 't2', created: 4, name: 'inside' }),
  run('v', { parent: 'gone', created: 5 })
]);
const tree = (text = '', status: '' | 'failed' = '', said: [string, boolean][] = []): string =>
  arrange(night, { text, status }, new Map(said))
    .lines.map(({ row, depth, open }) => `${'.'.repeat(depth)}${row.id}${open === null ? '' : open ? '-' : '+'}`)
    .join(' ');

test('a sweep is one line with its sets below it, as long as it goes on or somebody wants it', () => {
  assert.equal(tree(), 'v s- .t1 .t2+ a', 'the newest first, its sets in their order');
  assert.equal(tree('', '', [['s', false]]), 'v s+ a');
  assert.equal(tree('', '', [['t2', true]]), 'v s- .t1 .t2- ..u a');
  assert.deepEqual(
    [
      isOpen({ ...sweep, status: 'done' }, new Map()),
      isOpen({ ...sweep, status: 'done' }, new Map([['s', true]])),
      isOpen(night[5], new Map())
    ],
    [false, true, false]
  );
  const { lines } = arrange(night, { text: '', status: '' }, new Map([['t2', true]]));
  assert.deepEqual(
    lines.map((_, i) => parentOf(lines, i)),
    [-1, -1, 1, 1, 3, -1]
  );
});

test('words and states find sets, which are shown below their sweep', () => {
  assert.equal(tree('lr=0.01', '', [['s', false]]), 's- .t2+', 'opened, since it is looked for');
  assert.equal(tree('night', '', [['s', false]]), 's+', 'all of it is meant');
  assert.equal(tree('0.01'), 's- .t2+', 'the sweep has the words too, but they tell its sets apart');
  assert.equal(tree('inside'), 's- .t2- ..u');
  assert.equal(tree('', 'failed'), 's- .t1');
  assert.equal(tree('lr=0.01', 'failed'), '');
  assert.deepEqual(
    [
      arrange(night, { text: 'night', status: '' }, new Map([['s', false]])).found,
      arrange(night, { text: '', status: '' }, new Map()).found
    ],
    [4, 6],
    'with what they have begun'
  );
});

test('nothing is below itself, whatever a record says', () => {
  const rows = sortRuns([
    run('a', { parent: 'b', created: 1 }),
    run('b', { parent: 'a', created: 2 }),
    run('c', { parent: 'c', created: 3 })
  ]);
  assert.deepEqual(
    [...childrenOf(rows)].map(([id, kids]) => [id, kids.map(k => k.id)]),
    [['a', ['b']]]
  );
  assert.deepEqual(
    arrange(rows, { text: '', status: '' }, new Map([['a', true]])).lines.map(({ row }) => row.id),
    ['c', 'a', 'b']
  );
});

test('a sweep of thousands is arranged in no time', () => {
  const sweepOf = (length: number): RunRow[] =>
    sortRuns([sweep, ...Array.from({ length }, (_, i) => set(`t${String(i).padStart(5, '0')}`, `seed=${i}`))]);
  const arranged = (runs: RunRow[]): number => arrange(runs, { text: 'seed=49', status: '' }, new Map()).lines.length;
  const quickest = (runs: RunRow[]): number =>
    Math.min(
      ...Array.from({ length: 5 }, () => {
        const start = performance.now();
        arranged(runs);
        return performance.now() - start;
      })
    );
  assert.equal(arranged(sweepOf(5000)), 1 + 111);
  const [small, large] = [1000, 20_000].map(length => quickest(sweepOf(length)));
  assert.ok(large < 100 * small, 'twenty times as many take about twenty times as long, not four hundred');
});

test('how a sweep stands, in words', () => {
  assert.equal(setsText({ total: 32, done: 11, failed: 1, running: 2, waiting: 18 }, trans), '12 of 32 sets, 1 failed');
  assert.equal(setsText({ total: 4, done: 4, failed: 0, running: 0, waiting: 0 }, trans), '4 sets');
  assert.equal(setsText({ total: 1, done: 0, failed: 0, running: 1, waiting: 0 }, trans), '0 of 1 set');
  assert.equal(cellsText(0, 1, trans), '0 of 1 cell');
  assert.deepEqual([true, null, 0.5].map(value), ['True', 'None', '0.5']);
  assert.deepEqual([3e-4, 1e-7, 123456, 0.1 + 0.2, 'adam', null].map(given), [
    '0.0003',
    '1e-7',
    '123456',
    '0.3',
    'adam',
    'None'
  ]);
});

test('of 5,000 rows a few are drawn, wherever one is', () => {
  assert.deepEqual(inSight(0, 480, 48, 5000), [0, 16]);
  assert.deepEqual(inSight(48 * 2500, 480, 48, 5000), [2494, 2516]);
  assert.deepEqual(inSight(48 * 4990, 480, 48, 5000), [4984, 5000]);
  assert.deepEqual(inSight(48 * 4990, 480, 48, 3), [2, 3], 'the list became short');
  assert.deepEqual(inSight(0, 480, 48, 0), [0, 0]);
  assert.deepEqual([reveal(5, 0, 480, 48), reveal(10, 0, 480, 48), reveal(2, 480, 480, 48)], [0, 48, 96]);
});

test('where keys lead to', () => {
  assert.deepEqual(
    ['ArrowUp', 'ArrowDown', 'PageDown', 'Home', 'End'].map(key => step(key, 3, 10, 5)),
    [2, 4, 8, 0, 9]
  );
  assert.deepEqual(
    [
      step('ArrowUp', 0, 10, 5),
      step('ArrowDown', 9, 10, 5),
      step('PageDown', 8, 10, 5),
      step('x', 3, 10, 5),
      step('End', -1, 0, 5)
    ],
    [0, 9, 9, null, null]
  );
});

test('history: the last minutes, with gaps, and in numbers', () => {
  assert.deepEqual(lastMinutes({ every: 30, use: [1, 2, 3, 4, 5] }, 2), [2, 3, 4, 5]);
  assert.equal(path([0, 100, null, 50], 4), 'M0.0 23.0L33.3 1.0M100.0 12.0');
  assert.equal(path([50], 3), 'M100.0 12.0', 'the newest at the right');
  assert.equal(path([null, null], 2), '');
  assert.deepEqual(summary([0, 100, null, 50]), { now: 50, mean: 50, most: 100 });
  assert.deepEqual(summary([]), { now: null, mean: null, most: null });
});

test('the status bar counts', () => {
  const [held, free] = [{ holder: {} }, { holder: null }] as DeviceRow[];
  assert.deepEqual(summarize([held, free, held], [{ run: 'a' }, { run: null }] as AllocationRow[]), {
    held: 2,
    all: 3,
    runs: 1
  });
});

test('a row says what its context menu takes', () => {
  assert.deepEqual(argumentsOf({ run: 'r', status: 'done', name: '', other: 'x' }), { run: 'r', status: 'done' });
});

let net: FakeNetwork;
let form: AllocateForm;
let stages: string[];

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
  net = new FakeNetwork();
  net.answer = (_, path) => (path === 'api/status' ? { engines: ['local', 'slurm'] } : { id: 'q' });
  form = new AllocateForm(new BenchModel(net.network), () => 2);
  stages = [];
  form.changed.connect(f => void (stages[stages.length - 1] === f.stage || stages.push(f.stage)));
});

const asked = (): FakeNetwork['requests'] => net.requests.filter(r => r.path !== 'api/status');
const say = (version: number, row: object | null): void =>
  net.last.say({
    topic: 'requests',
    epoch: 'e',
    version,
    full: version === 1,
    upsert: row ? [{ key: 'q', id: 'q', name: 'x', allocation: null, ...row }] : [],
    remove: row ? [] : ['q']
  });

test('the form: asked once, waited for, granted', async () => {
  form.open({ id: 'k', label: 'a.ipynb' });
  assert.equal(form.fields.count, '2');
  form.edit({ memory: ' 20GB ' });
  await Promise.all([form.submit(), form.submit()]);
  assert.deepEqual(
    asked().map(r => r.body),
    [{ count: 2, memory: '20GB', engine: 'local', kernel: 'k' }]
  );
  net.last.opened();
  say(1, { state: 'waiting', text: 'bob is ahead' });
  assert.equal(form.request?.text, 'bob is ahead');
  assert.equal(form.shows('q'), true);
  form.edit({ count: '7' });
  assert.equal(form.fields.count, '2', 'not while it is asked for');
  say(2, { state: 'granted', allocation: 'otter' });
  assert.deepEqual(stages, ['editing', 'sending', 'waiting', 'closed']);
  assert.deepEqual([form.said, form.fields.memory, form.shows('q')], ['otter', '', false]);
});

test('the form: engines are the server’s, and Slurm’s own fields are sent only to Slurm', async () => {
  assert.deepEqual(form.engines, ['local']);
  form.open();
  await new Promise<void>(done => form.changed.connect(() => done()));
  assert.deepEqual(form.engines, ['local', 'slurm']);
  form.edit({ memory: '20GB', partition: ' gpu ', time: '4:00:00', nodes: '2', flags: '--exclusive --mem 4G' });
  assert.deepEqual(form.options(), { count: 2, memory: '20GB', engine: 'local' });
  form.edit({ engine: 'slurm' });
  assert.deepEqual(form.options(), {
    count: 2,
    engine: 'slurm',
    options: { partition: 'gpu', time: '4:00:00', nodes: '2', flags: '--exclusive --mem 4G' }
  });
  form.edit({ limit: ' 90 ' });
  assert.deepEqual(form.options().time, undefined, 'Slurm has its own');
  form.edit({ engine: 'local', memory: '' });
  assert.deepEqual(form.options(), { count: 2, engine: 'local', time: 90 });
  form.edit({ limit: '1 h' });
  assert.deepEqual(form.options().time, '1 h', 'the server says what is wrong');
  form.edit({ engine: 'slurm', limit: '' });
  form.edit({ partition: '', time: '', nodes: ' ', flags: '' });
  assert.deepEqual(form.options(), { count: 2, engine: 'slurm' }, 'nothing asked is nothing sent');
  form.edit({ partition: 'gone' });
  net.answer = () => {
    throw new Error('the server is gone');
  };
  form.close();
  form.open();
  await Promise.resolve();
  assert.deepEqual(
    [form.engines, form.fields.partition, form.error],
    [['local', 'slurm'], 'gone', ''],
    'what is known and typed stays'
  );
});

test('the form: what the server refuses is said, and nothing typed is lost', async () => {
  form.open();
  form.edit({ count: '99', name: 'mine' });
  net.answer = () => {
    throw new Error('there are 8 devices');
  };
  await form.submit();
  assert.deepEqual(
    [form.stage, form.error, form.fields.count, form.fields.name],
    ['editing', 'there are 8 devices', '99', 'mine']
  );
  form.edit({ count: '8' });
  assert.equal(form.error, '');
  net.answer = () => ({ id: 'q' });
  await form.submit();
  net.last.opened();
  say(1, { state: 'failed', text: 'the time is over' });
  assert.deepEqual([form.stage, form.error, form.fields.name], ['editing', 'the time is over', 'mine']);
});

test('the form: cancelled here or elsewhere it is as before', async () => {
  form.open();
  form.edit({ name: 'mine' });
  await form.submit();
  net.last.opened();
  say(1, { state: 'waiting', text: '' });
  await form.cancel();
  assert.deepEqual(
    asked().map(r => r.method),
    ['POST', 'DELETE']
  );
  assert.deepEqual([form.stage, form.error, form.fields.name], ['editing', '', 'mine']);
  await form.submit();
  say(2, { state: 'waiting', text: '' });
  say(3, null);
  assert.deepEqual([form.stage, form.fields.name], ['editing', 'mine']);
});

test('the form: a cancel that fails is said, and it goes on waiting', async () => {
  form.open();
  await form.submit();
  net.answer = () => {
    throw new Error('not now');
  };
  await form.cancel();
  assert.deepEqual([form.stage, form.error], ['waiting', 'not now']);
});

test('the form: closed while it waits, the request is left to the list', async () => {
  form.open();
  await form.submit();
  form.close();
  assert.deepEqual([form.stage, form.shows('q')], ['closed', false]);
  assert.deepEqual(
    asked().map(r => r.method),
    ['POST']
  );
  form.open();
  form.edit({ kind: 'cpu' });
  form.close();
  form.open();
  assert.equal(form.fields.kind, 'cpu', 'what was typed is still there');
});

test('what was lost, stopped or failed can be resumed, unless it is a notebook that is executed by itself', () => {
  const can = (more: Partial<RunRow>): boolean => isResumable(run('r', { kind: 'function', ...more }));
  assert.deepEqual(
    (['waiting', 'running', 'stalled', 'done', 'failed', 'stopped', 'lost', 'damaged'] as const).filter(status =>
      can({ status })
    ),
    ['failed', 'stopped', 'lost']
  );
  assert.ok(
    can({ kind: 'sweep', status: 'stopped' }) && can({ kind: 'notebook', status: 'lost', allocation: 'otter' })
  );
  assert.ok(!can({ kind: 'notebook', status: 'lost' }));
});
