import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';
import { BenchModel } from '../src/model';
import type { Want } from '../src/plot/messages';
import type { LogChunk } from '../src/tokens';
import { FakeNetwork, frame } from './fakes';

let net: FakeNetwork;
let bench: BenchModel;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
  net = new FakeNetwork();
  bench = new BenchModel(net.network);
});

const settle = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

test('a full table, then changes, then full again', () => {
  const table = bench.runs();
  let changed = 0;
  table.changed.connect(() => changed++);
  net.last.opened();
  assert.equal(table.ready, false);
  const say = (version: number, full: boolean, upsert: object[], remove: string[] = []): void =>
    net.last.say({ topic: 'runs', epoch: 'e', version, full, upsert, remove });
  say(1, true, [
    { key: 'a', step: 1 },
    { key: 'b', step: 1 }
  ]);
  const b = table.rows.get('b');
  say(
    2,
    false,
    [
      { key: 'a', step: 2 },
      { key: 'c', step: 0 }
    ],
    ['x']
  );
  assert.deepEqual(
    [...table.rows.values()].map(r => [r.key, r.step]),
    [
      ['a', 2],
      ['b', 1],
      ['c', 0]
    ]
  );
  assert.equal(table.rows.get('b'), b, 'what did not change is the same object');
  say(3, false, [], ['b']);
  assert.deepEqual([...table.rows.keys()], ['a', 'c']);
  say(4, true, [{ key: 'z' }]);
  assert.deepEqual([...table.rows.keys()], ['z']);
  assert.equal(changed, 4);
});

test('a table is shared, kept for a moment, and then let go', () => {
  const [first, second] = [bench.devices(), bench.devices()];
  net.last.opened().say({ topic: 'devices', epoch: 'e', version: 1, full: true, upsert: [{ key: 'g' }] });
  assert.equal(second.rows.size, 1);
  first.dispose();
  first.dispose();
  mock.timers.tick(10_000);
  assert.equal(net.last.of('unsubscribe').length, 0, 'somebody holds it');
  second.dispose();
  mock.timers.tick(4000);
  const third = bench.devices();
  assert.equal(third.ready, true, 'at once, as it was kept');
  mock.timers.tick(10_000);
  third.dispose();
  mock.timers.tick(5000);
  assert.equal(net.last.of('unsubscribe').length, 1);
  assert.equal(bench.devices().ready, false);
});

test('what was on its way to an ended subscription is not taken for a table', () => {
  const table = bench.devices();
  net.last.opened().say({ topic: 'devices', epoch: 'e', version: 9, full: false, upsert: [{ key: 'late' }] });
  assert.deepEqual([table.ready, table.rows.size], [false, 0]);
});

test('an error of a topic is said, and goes with the next rows', () => {
  const table = bench.run('x');
  net.last.opened().say({ topic: 'run/x', error: 'there is no run x' });
  assert.equal(table.error, 'there is no run x');
  net.last.say({ topic: 'run/x', epoch: 'e', version: 1, full: true, upsert: [{ key: 'x' }] });
  assert.equal(table.error, '');
});

test('why it is not connected', async () => {
  const problems: string[] = [];
  bench.connectionChanged.connect(b => void problems.push(b.problem));
  bench.devices();
  net.answer = () => {
    throw new Error('the server extension is not there');
  };
  net.last.broken();
  await settle();
  assert.equal(bench.problem, 'the server extension is not there');
  net.answer = () => ({});
  mock.timers.tick(500);
  net.last.broken();
  await settle();
  assert.match(bench.problem, /interrupted/);
  mock.timers.tick(1000);
  net.last.opened();
  assert.deepEqual([bench.connected, bench.problem, problems[problems.length - 1]], [true, '', '']);
});

test('a reason that comes late does not stand over a living connection', async () => {
  bench.devices();
  net.answer = () => {
    throw new Error('too late');
  };
  net.last.broken();
  mock.timers.tick(500);
  net.last.opened();
  await settle();
  assert.equal(bench.problem, '');
});

test('a second reader of a log gets its beginning; both go on together; a reconnect resumes at a byte', () => {
  const [first, second]: LogChunk[][] = [[], []];
  const one = bench.log('r', 0, c => void first.push(c));
  net.last.opened();
  const say = (begin: number, text: string, full = false): void =>
    net.last.say({ topic: 'logs/r/0', epoch: 'e', begin, version: begin + text.length, text, full });
  say(100, 'one\n', true);
  say(104, 'two\n');
  const two = bench.log('r', 0, c => void second.push(c));
  assert.deepEqual(second, [{ begin: 100, end: 108, text: 'one\ntwo\n', full: true }]);
  say(108, 'three\n');
  assert.equal(first[2].text + second[1].text, 'three\nthree\n');
  assert.equal(net.last.of('subscribe').length, 1);
  net.last.broken();
  mock.timers.tick(500);
  net.last.opened();
  assert.deepEqual(net.last.sent[0], { op: 'subscribe', topic: 'logs/r/0', since: { epoch: 'e', version: 114 } });
  one.dispose();
  assert.equal(net.last.of('unsubscribe').length, 0);
  two.dispose();
  two.dispose();
  assert.equal(net.last.of('unsubscribe').length, 1);
});

test('of a long log the last part is kept', () => {
  bench.log('r', 0, () => undefined);
  net.last.opened();
  for (let i = 0; i < 10; i++)
    net.last.say({
      topic: 'logs/r/0',
      epoch: 'e',
      begin: i * 1e5,
      version: (i + 1) * 1e5,
      text: 'x'.repeat(1e5),
      full: !i
    });
  const got: LogChunk[] = [];
  bench.log('r', 0, c => void got.push(c));
  assert.deepEqual([got[0].begin, got[0].end, got[0].text.length], [6e5, 1e6, 4e5]);
});

test('series: the answer carries the number of the question, and none comes after the end', () => {
  const source = bench.series('r', { system: true, names: ['loss'] });
  const got: number[] = [];
  const end = source.listen(reply => void got.push((reply as { id: number }).id));
  source.ask({
    want: 'series',
    id: 42,
    cursor: '',
    x: 'step',
    smooth: 0,
    ranks: 'band',
    width: 300,
    filter: ''
  } as Want);
  net.last.opened();
  const [asked] = net.last.of('series');
  assert.deepEqual([asked.run, asked.system, asked.names, (asked.want as Want).id], ['r', true, ['loss'], 42]);
  net.last.say(frame(asked.id as number, { kind: 'same', cursor: '' }));
  assert.deepEqual(got, [42]);
  source.ask({ want: 'series', id: 43 } as Want);
  end();
  net.last.say(frame((asked.id as number) + 1, { kind: 'same' }));
  assert.deepEqual(got, [42]);
});

test('actions are requests', async () => {
  net.answer = () => ({ id: 'q1' });
  assert.equal(await bench.allocate({ count: 2, name: 'x' }), 'q1');
  await bench.cancel('q1');
  await bench.release('quiet otter');
  await bench.restart('a');
  await bench.stop('r');
  await bench.stop('r', true);
  await bench.remove('r');
  await bench.stacks('r');
  await bench.resumeRun('r', { count: 2 });
  assert.deepEqual(
    net.requests.map(r => [r.method, r.path, r.body]),
    [
      ['POST', 'api/requests', { count: 2, name: 'x' }],
      ['DELETE', 'api/requests/q1', undefined],
      ['POST', 'api/allocations/quiet%20otter/release', {}],
      ['POST', 'api/allocations/a/restart', {}],
      ['POST', 'api/runs/r/stop', { kill: false }],
      ['POST', 'api/runs/r/stop', { kill: true }],
      ['DELETE', 'api/runs/r', undefined],
      ['GET', 'api/runs/r/stacks', undefined],
      ['POST', 'api/runs/r/resume', { count: 2 }]
    ]
  );
});
