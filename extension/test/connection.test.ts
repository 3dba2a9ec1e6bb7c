import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';
import { Connection } from '../src/connection';
import type { TopicMessage } from '../src/frames';
import { followVisibility } from '../src/visibility';
import { FakeNetwork, frame } from './fakes';

let net: FakeNetwork;
let refused: number;
let connection: Connection;
let changes: boolean[];

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
  mock.method(console, 'error', () => undefined);
  net = new FakeNetwork();
  refused = 0;
  changes = [];
  connection = new Connection(net.openSocket, () => refused++);
  connection.changed.connect(c => void changes.push(c.connected));
});

const none = (): null => null;

test('no socket without a wish; the first topic opens it and asks when it is open', () => {
  assert.equal(net.sockets.length, 0);
  connection.subscribe('devices', () => undefined, none);
  connection.subscribe('runs', () => undefined, none);
  assert.equal(net.sockets.length, 1);
  assert.equal(net.last.sent.length, 0);
  net.last.opened();
  assert.deepEqual(
    net.last.sent.map(m => [m.op, m.topic, m.since]),
    [
      ['subscribe', 'devices', null],
      ['subscribe', 'runs', null]
    ]
  );
  assert.deepEqual(changes, [true]);
});

test('one subscription for two listeners; it ends with the last', () => {
  const heard: string[] = [];
  const first = connection.subscribe('runs', () => heard.push('first'), none);
  net.last.opened();
  const second = connection.subscribe('runs', () => heard.push('second'), none);
  net.last.say({ topic: 'runs' });
  assert.deepEqual(heard, ['first', 'second']);
  first();
  first(); // twice does no harm
  assert.equal(net.last.of('unsubscribe').length, 0);
  second();
  assert.deepEqual(net.last.of('unsubscribe'), [{ op: 'unsubscribe', topic: 'runs' }]);
  net.last.say({ topic: 'runs' });
  assert.equal(heard.length, 2);
  connection.subscribe('runs', () => undefined, none);
  assert.equal(net.last.of('subscribe').length, 2, 'asked again');
});

test('a reconnect resumes where each topic has come to', () => {
  let version = 0;
  connection.subscribe(
    'runs',
    m => (version = m.version!),
    () => (version ? { epoch: 'e', version } : null)
  );
  net.last.opened().say({ topic: 'runs', epoch: 'e', version: 7, full: true });
  net.last.broken();
  mock.timers.tick(500);
  assert.equal(net.sockets.length, 2);
  net.last.opened();
  assert.deepEqual(net.last.sent[0].since, { epoch: 'e', version: 7 });
  assert.deepEqual(changes, [true, false, true]);
});

test('it backs off, up to 15 seconds, and begins anew once a message was understood', () => {
  connection.subscribe('runs', () => undefined, none);
  const waits = [500, 1000, 2000, 4000, 8000, 15_000, 15_000];
  for (const [i, wait] of waits.entries()) {
    net.last.broken();
    mock.timers.tick(wait - 1);
    assert.equal(net.sockets.length, i + 1, `too early after try ${i}`);
    mock.timers.tick(1);
    assert.equal(net.sockets.length, i + 2);
  }
  assert.equal(refused, waits.length);
  net.last.opened().broken(); // open, but mute
  mock.timers.tick(14_999);
  assert.equal(net.sockets.length, waits.length + 1);
  mock.timers.tick(1);
  net.last.opened().say({ op: 'pong' });
  net.last.broken();
  mock.timers.tick(500);
  assert.equal(net.sockets.length, waits.length + 3);
});

test('a quiet socket is asked, and given up when it does not answer', () => {
  connection.subscribe('runs', () => undefined, none);
  const first = net.last.opened();
  mock.timers.tick(15_000);
  assert.equal(first.of('ping').length, 1);
  first.say({ op: 'pong' });
  mock.timers.tick(15_000);
  assert.equal(first.of('ping').length, 2);
  assert.equal(connection.connected, true);
  mock.timers.tick(10_000);
  assert.equal(connection.connected, false);
  assert.equal(first.closed, true);
  mock.timers.tick(500);
  assert.equal(net.sockets.length, 2, 'and a new one is tried');
});

test('a socket that never opens is given up', () => {
  connection.subscribe('runs', () => undefined, none);
  mock.timers.tick(20_000);
  mock.timers.tick(500);
  assert.equal(net.sockets.length, 2);
  assert.equal(refused, 1);
});

test('what cannot be read closes the socket, and nothing is missed', () => {
  const heard: TopicMessage[] = [];
  connection.subscribe(
    'runs',
    m => void heard.push(m),
    () => ({ epoch: 'e', version: heard.length })
  );
  const first = net.last.opened();
  first.say({ topic: 'runs', version: 1 });
  first.say('{"topic": "ru');
  assert.equal(first.closed, true);
  mock.timers.tick(500);
  net.last.opened();
  assert.deepEqual(net.last.sent[0].since, { epoch: 'e', version: 1 });
});

test("one listener's mistake is not the others'", () => {
  let heard = 0;
  connection.subscribe(
    'runs',
    () => {
      throw new Error('mine');
    },
    none
  );
  connection.subscribe('runs', () => heard++, none);
  net.last.opened().say({ topic: 'runs' });
  assert.equal(heard, 1);
  assert.equal(connection.connected, true);
});

test('an answer is decoded: a header, then buffers', () => {
  const got: [unknown, number[][]][] = [];
  connection.ask({ run: 'a' }, ({ reply, buffers }) =>
    got.push([reply, buffers.map(b => [b.getFloat64(0, true), b.byteLength])])
  );
  net.last.opened();
  const [{ op, run, id }] = net.last.sent;
  assert.deepEqual([op, run, id], ['series', 'a', 1]);
  net.last.say(frame(1, { kind: 'séries' }, new Float64Array([1.5, 2]), new Float64Array([-3])));
  assert.deepEqual(got, [
    [
      { kind: 'séries' },
      [
        [1.5, 16],
        [-3, 8]
      ]
    ]
  ]);
  net.last.say(frame(1, { kind: 'again' }));
  assert.equal(got.length, 1, 'answered once');
});

test('a question without a connection is asked later, only the last of one owner', () => {
  const owner = {};
  const got: string[] = [];
  connection.ask({ run: 'a', n: 1 }, () => got.push('first'), owner);
  connection.ask({ run: 'a', n: 2 }, () => got.push('second'), owner);
  net.last.opened();
  assert.deepEqual(
    net.last.of('series').map(m => m.n),
    [2]
  );
  net.last.broken(); // before the answer
  mock.timers.tick(500);
  net.last.opened();
  assert.deepEqual(
    net.last.of('series').map(m => m.n),
    [2],
    'and asked again'
  );
  net.last.say(frame(2, {}));
  assert.deepEqual(got, ['second']);
});

test('paused there is no socket and no try; resuming goes on without a gap', () => {
  let version = 3;
  connection.subscribe(
    'runs',
    m => (version = m.version!),
    () => ({ epoch: 'e', version })
  );
  const first = net.last.opened();
  connection.pause();
  assert.equal(first.closed, true);
  assert.deepEqual(changes, [true, false]);
  connection.retry(); // the network is back, but nobody looks
  connection.subscribe('devices', () => undefined, none);
  mock.timers.tick(60_000);
  assert.equal(net.sockets.length, 1);
  connection.resume();
  assert.equal(net.sockets.length, 2, 'at once');
  net.last.opened();
  assert.deepEqual(
    net.last.sent.map(m => [m.topic, m.since]),
    [
      ['runs', { epoch: 'e', version: 3 }],
      ['devices', null]
    ]
  );
});

test('retry does not wait', () => {
  connection.subscribe('runs', () => undefined, none);
  for (let i = 0; i < 6; i++) {
    net.last.broken();
    mock.timers.tick(15_000);
  }
  net.last.broken();
  const before = net.sockets.length;
  connection.retry();
  assert.equal(net.sockets.length, before + 1);
  mock.timers.tick(15_000);
  assert.equal(net.sockets.length, before + 1, 'the planned try is off');
});

test('after dispose nothing is tried', () => {
  connection.subscribe('runs', () => undefined, none);
  const first = net.last.opened();
  connection.dispose();
  assert.equal(first.closed, true);
  mock.timers.tick(60_000);
  assert.equal(net.sockets.length, 1);
});

test('a page out of sight pauses after a while, and not when it came back before', () => {
  const page = Object.assign(new EventTarget(), { hidden: false });
  const calls: string[] = [];
  const end = followVisibility(
    page as unknown as Document,
    { pause: () => calls.push('pause'), resume: () => calls.push('resume') },
    () => 60
  );
  const turn = (hidden: boolean): void => {
    page.hidden = hidden;
    page.dispatchEvent(new Event('visibilitychange'));
  };
  turn(true);
  mock.timers.tick(59_000);
  turn(false);
  mock.timers.tick(60_000);
  turn(true);
  mock.timers.tick(60_000);
  turn(false);
  assert.deepEqual(calls, ['resume', 'pause', 'resume']);
  end();
});
