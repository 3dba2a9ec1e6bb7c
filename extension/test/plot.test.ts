import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodePanels, toDoubles } from '../src/plot/decode';
import type { SeriesReply } from '../src/plot/messages';
import { align, canLog, format, mergeX, notesOf, place, timeUnit } from '../src/plot/series';
import { plainWords } from '../src/plot/words';
import { Asker } from '../src/plot/asker';
import { Pacer } from '../src/plot/pacer';
import { pan, pressed, sensible, zoom } from '../src/plot/zoom';

const doubles = (...values: number[]): DataView => new DataView(new Float64Array(values).buffer);
const head = { kind: 'line' as const, label: 'loss', rank: 0, columns: 1, wrong: 0, points: 3, last: 1 };
const reply = (...parts: object[]): SeriesReply => ({
  kind: 'series',
  id: 1,
  cursor: 'a',
  x: 'step',
  restarts: [],
  chosen: 1,
  names: 1,
  more: false,
  panels: [{ name: 'loss', parts: parts as never }]
});

test('doubles are read wherever they begin in memory', () => {
  const memory = new Uint8Array(3 + 16);
  new DataView(memory.buffer).setFloat64(3, 1.5, true);
  new DataView(memory.buffer).setFloat64(11, -2, true);
  assert.deepEqual([...toDoubles(new DataView(memory.buffer, 3))], [1.5, -2]);
  const even = new Float64Array([1, 2, 3]);
  assert.equal(toDoubles(new DataView(even.buffer, 8)).buffer, even.buffer, 'no copy where none is needed');
});

test('an answer becomes panels', () => {
  const panels = decodePanels(reply(head, { ...head, kind: 'band', columns: 2 }), [
    doubles(0, 1),
    doubles(5, 6),
    doubles(0, 1),
    doubles(1, 2),
    doubles(3, 4)
  ]);
  assert.equal(panels[0].parts.length, 2);
  assert.deepEqual([...panels[0].parts[1].y[1]], [3, 4]);
});

test('an answer that does not fit its buffers is an error, not a wrong curve', () => {
  assert.throws(() => decodePanels(reply(head), [doubles(0, 1)]), /speaks of more/);
  assert.throws(() => decodePanels(reply(head), [doubles(0, 1), doubles(1)]), /different length/);
  assert.throws(() => decodePanels(reply(head), [doubles(0), doubles(1), doubles(2)]), /speaks of 2/);
});

test('series of different x share one', () => {
  const all = mergeX([
    [0, 2, 4],
    [1, 2, 3]
  ]);
  assert.deepEqual(all, [0, 1, 2, 3, 4]);
  assert.deepEqual(place([0, 2, 4], [1, NaN, 3], all), [1, undefined, null, undefined, 3]);
  assert.deepEqual(place([0, 2], [Infinity, 7], all), [undefined, undefined, 7, undefined, undefined]);
  assert.deepEqual(place([2, 2], [5, 6], all)[2], 6, 'of two points at one x the last');
});

test('a smoothed line has a faint one below it, a band two edges', () => {
  const [panel] = decodePanels(
    reply({ ...head, columns: 2, wrong: 1 }, { ...head, kind: 'band', columns: 2, wrong: 1 }),
    [doubles(0, 1), doubles(5, 6), doubles(5, 5.5), doubles(0, 1), doubles(1, 2), doubles(3, 4)]
  );
  const aligned = align(panel, false);
  assert.deepEqual(
    aligned.lines.map(l => l.role),
    ['faint', 'line', 'low', 'high']
  );
  assert.equal(aligned.wrong, 1, 'a band does not count its points again');
});

test('a logarithm leaves out what it cannot take, and says how much', () => {
  const [panel] = decodePanels(reply(head), [doubles(0, 1, 2), doubles(-1, 0, 10)]);
  const aligned = align(panel, true);
  assert.deepEqual(aligned.lines[0].values, [null, null, 10]);
  assert.equal(aligned.dropped, 2);
  const [negative] = decodePanels(reply(head), [doubles(0, 1), doubles(-1, -2)]);
  assert.equal(canLog(align(negative, true)), false);
  assert.deepEqual(
    align(negative, true).lines[0].values,
    [-1, -2],
    'then the scale stays linear and nothing is left out'
  );
});

test('a panel says what a logarithm does to it', () => {
  const said = (values: number[], log = true): string =>
    notesOf(
      align(
        { name: 'x', parts: [{ ...head, x: Float64Array.of(1, 2), y: [Float64Array.from(values)], wrong: 0 }] },
        log
      ),
      log,
      0,
      plainWords
    );
  assert.equal(said([-1, -2]), 'no positive value: not logarithmic');
  assert.equal(said([-1, 2]), '1 not positive, left out');
  assert.equal(said([1, 2]), '');
  assert.equal(said([-1, -2], false), '');
  assert.equal(
    notesOf(align({ name: 'x', parts: [] }, true), true, 2, plainWords),
    'restarted 2×',
    'where there is nothing yet, nothing is missing'
  );
});

test('an empty panel is no error', () => {
  assert.deepEqual(align({ name: 'x', parts: [] }, true), { x: [], lines: [], wrong: 0, dropped: 0 });
});

test('a million points are aligned in the blink of an eye', () => {
  const n = 4000,
    x = Float64Array.from({ length: n }, (_, i) => i);
  const panel = { name: 'x', parts: Array.from({ length: 8 }, (_, rank) => ({ ...head, rank, x, y: [x] })) };
  assert.equal(align(panel, false).x.length, n);
});

test('numbers and times for people', () => {
  assert.deepEqual([0, 0.5, 1234.567, 1e-5, 2e7, null, NaN].map(format), [
    '0',
    '0.5',
    '1235',
    '1.00e-5',
    '2.00e+7',
    '–',
    '–'
  ]);
  assert.deepEqual(
    [10, 600, 1e5].map(s => timeUnit(s)[1]),
    ['s', 'min', 'h']
  );
});

test('one question at a time; without an answer it is asked again, less and less often', () => {
  const asked: number[] = [];
  const asker = new Asker(id => asked.push(id));
  asker.tick(0);
  asker.tick(500);
  assert.deepEqual(asked, [1], 'it waits for the answer');
  assert.equal(asker.answered(1, true, 600), true);
  asker.tick(1000);
  assert.deepEqual(asked, [1], 'and then a second');
  asker.tick(1700);
  assert.deepEqual(asked, [1, 2]);
  asker.tick(8000);
  assert.deepEqual(asked, [1, 2, 3], 'no answer: again');
  assert.equal(asker.answered(2, true, 8100), false, 'an answer to an older question is not drawn');
  for (let i = 0, t = 8200; i < 10; i++, t += 20000) {
    asker.tick(t);
    asker.answered(asked.at(-1)!, false, t);
  }
  assert.ok(asker.interval > 1000 && asker.interval <= 5000, 'nothing new: it backs off');
  asker.now();
  asker.tick(300000);
  assert.equal(asker.interval, 1000, 'a changed option is asked for at once');
});

test('a zoom: keys, a wheel and nonsense', () => {
  assert.deepEqual(pan([0, 10], 0.5), [5, 15]);
  assert.deepEqual(zoom([0, 10], 0.5), [2.5, 7.5]);
  assert.deepEqual(zoom([0, 10], 0.5, 0), [0, 5]);
  assert.equal(zoom([1e9, 1e9 + 1], 1e-3), null, 'numbers that cannot be told apart');
  assert.equal(sensible([3, 3]), null);
  assert.equal(sensible([NaN, 3]), null);
  assert.deepEqual(sensible([5, 3]), [3, 5]);
  assert.deepEqual(pressed('ArrowRight', [0, 10]), [2, 12]);
  assert.equal(pressed('Escape', [0, 10]), null);
  assert.equal(pressed('a', [0, 10]), undefined);
});

test('drawing in small portions: the newest of each, never more than the time allows', async () => {
  let now = 0;
  const frames: (() => void)[] = [],
    done: string[] = [];
  const pacer = new Pacer(
    () => now,
    step => frames.push(step),
    () => undefined
  );
  const things = Array.from({ length: 5 }, () => ({}));
  const add = (word: string): void =>
    things.forEach((thing, k) => pacer.add(thing, () => (done.push(`${word}${k}`), (now += 4))));
  const frame = async (): Promise<void> => {
    frames.shift()!();
    for (let i = 0; i < 20; i++) await null;
  };
  add('old');
  add('new');
  assert.equal(frames.length, 1);
  await frame();
  assert.deepEqual(done, ['new0', 'new1'], 'two jobs of 4 ms fill 6 ms');
  await frame();
  pacer.flush();
  assert.deepEqual(done, ['new0', 'new1', 'new2', 'new3', 'new4']);
});

test('who is told that nothing changes any more asks no more', () => {
  const asked: number[] = [],
    asker = new Asker(id => asked.push(id));
  asker.tick(0);
  asker.answered(1, false, 10);
  asker.rest();
  asker.tick(1e9);
  assert.deepEqual(asked, [1]);
  asker.now();
  asker.tick(1e9);
  assert.deepEqual(asked, [1, 2]);
});
