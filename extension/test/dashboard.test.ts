import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogBuffer } from '../src/dashboard/logbuffer';
import { pieces, plain, settled } from '../src/dashboard/logtext';
import { frameOf, groupsOf, isOdd, stallOf } from '../src/dashboard/stacks';
import { bytesText, durationText, fileName, isOver, requestOf, requestText, waitingText } from '../src/dashboard/texts';
import { plainWords } from '../src/plot/words';
import type { AllocationRow, RequestRow, RunDetail } from '../src/tokens';

const bytes = (text: string): number => new TextEncoder().encode(text).length;
const part = (text: string, begin = 0): { begin: number; end: number; text: string } => ({
  begin,
  end: begin + bytes(text),
  text
});
const all = (buffer: LogBuffer): string[] => buffer.slice(0, buffer.length);

test('a progress bar is one line, whatever the pieces that it comes in', () => {
  const buffer = new LogBuffer();
  const written = 'begin\n\r 10%|#\r 50%|###\r100%|######\nend é\n';
  for (const size of [1, 3, 7, 100]) {
    buffer.reset(part(''), true);
    let at = 0;
    for (let i = 0; i < written.length; i += size) {
      const piece = written.slice(i, i + size);
      buffer.append(part(piece, at), true);
      at += bytes(piece);
    }
    assert.deepEqual(all(buffer), ['begin', '100%|######', 'end é'], `pieces of ${size}`);
    assert.equal(buffer.end, bytes(written));
    assert.equal(buffer.lineAt(bytes('begin\n\r 10%')), 1, 'bytes that were overwritten belong to their line');
    assert.equal(buffer.lineAt(bytes(written) - 3), 2);
  }
});

test('a line without an end is shown, and grows', () => {
  const buffer = new LogBuffer();
  buffer.append(part('one\ntw'), true);
  assert.deepEqual(all(buffer), ['one', 'tw']);
  buffer.append(part('o\r 7%', 6), true);
  assert.deepEqual(all(buffer), ['one', ' 7%']);
  assert.equal(buffer.end, 11);
});

test('earlier parts stand before, later ones behind, and too much drops whole blocks at the far end', () => {
  const buffer = new LogBuffer(),
    line = `${'x'.repeat(999)}\n`,
    block = line.repeat(400);
  buffer.reset(part(block, 100 * 400_000), true);
  for (let k = 99; k > 60; k--) assert.equal(buffer.prepend(part(block, k * 400_000)), 400);
  assert.equal(buffer.begin, 61 * 400_000);
  assert.ok(!buffer.atEnd && buffer.length <= 8500, `${buffer.length} lines are kept`);
  assert.equal(buffer.prepend(part(block, 3)), 0, 'a part that does not fit is not taken');
  const lines = buffer.length,
    dropped = buffer.extend(part(block, buffer.end), 1e9);
  assert.equal(buffer.length, lines + 400 - dropped);
  assert.ok(dropped > 0 && buffer.size === 1e9);
  assert.equal(buffer.append(part('new\n', 5e8), true), 0, 'what is written at the end is far away');
});

test('the last part joins a window that reaches into it', () => {
  const buffer = new LogBuffer();
  buffer.reset(part('a\nb\n', 10), false);
  buffer.join(part('b\nc é\nd\n', 12));
  assert.deepEqual(all(buffer), ['a', 'b', 'c é', 'd']);
  assert.ok(buffer.atEnd);
  buffer.atEnd = false;
  buffer.join(part('far\n', 1000));
  assert.deepEqual(all(buffer), ['far']);
});

test('what does not go on where the last part ended starts anew', () => {
  const buffer = new LogBuffer();
  buffer.append(part('a\n'), true);
  buffer.append(part('z\n', 50), true);
  assert.deepEqual([all(buffer), buffer.begin], [['z'], 50]);
});

test('control codes: colours are kept, the rest is left out', () => {
  assert.equal(settled('a\rb\r\r'), 'b');
  assert.equal(plain('\x1b[1;31mred\x1b[0m\x1b[2K\x1b]0;title\x07 \x1b[Aup'), 'red up');
  assert.deepEqual(
    pieces('\x1b[1;31mred\x1b[0m no \x1b[38;5;12mmany').map(p => [p.text, p.color, p.bold]),
    [
      ['red', 'red', true],
      [' no ', '', false],
      ['many', '', false]
    ]
  );
  assert.deepEqual(
    pieces('One one', 'ONE').map(p => [p.text, p.found]),
    [
      ['One', true],
      [' ', false],
      ['one', true]
    ]
  );
  assert.ok(pieces('x'.repeat(1e6))[0].text.length < 6000);
});

test('numbers as a person reads them', () => {
  assert.deepEqual([0, 999, 1000, 1234567].map(bytesText), ['0 B', '999 B', '1.00 kB', '1.23 MB']);
  assert.deepEqual([-1, 59, 61, 3600, 200000].map(durationText), ['0 s', '59 s', '1:01 min', '1:00 h', '2 d 7 h']);
  assert.equal(fileName('20260101', 'val/acc top 5.csv'), '20260101-val_acc_top_5.csv');
  assert.ok(isOver('lost') && !isOver('waiting'));
});

test('a waiting run says behind whom', () => {
  const trans = plainWords as never;
  const run = { id: 'r3', status: 'waiting', allocation: 'otter' } as RunDetail;
  const allocation = (more: Partial<AllocationRow>): AllocationRow =>
    ({ name: 'otter', state: 'running', count: 2, queue: [], run: null, broken: null, ...more }) as AllocationRow;
  assert.equal(waitingText({ ...run, status: 'running' }, allocation({}), trans), '');
  assert.match(waitingText(run, undefined, trans), /Waiting for allocation otter/);
  assert.match(waitingText(run, allocation({ run: 'r1', queue: ['r2', 'r3'] }), trans), /busy with run r1; 1 more/);
  assert.match(waitingText(run, allocation({ run: 'r1', queue: ['r3'] }), trans), /r1; this one is next/);
  assert.match(waitingText(run, allocation({ state: 'waiting' }), trans), /still waits for its 2 devices/);
  assert.match(waitingText(run, allocation({ state: 'waiting', count: 1 }), trans), /still waits for its device\./);
});

test('stacks are divided by where ranks stand, and the odd ones are found in their ranges', () => {
  const { hint, groups } = groupsOf(
    'the others wait for rank 1\nranks 0, 2-3\n  File "train.py", line 3, in wait\n  File "c10d.py", line 9, in all_reduce\nrank 1\n  no answer: it is stopped (SIGSTOP)\n'
  );
  assert.equal(hint, 'the others wait for rank 1');
  assert.deepEqual(
    groups.map(g => g.ranks),
    ['ranks 0, 2-3', 'rank 1']
  );
  assert.deepEqual(groups[0].lines, ['File "train.py", line 3, in wait', 'File "c10d.py", line 9, in all_reduce']);
  assert.deepEqual(
    groups.map(g => isOdd(g, [1])),
    [false, true]
  );
  assert.ok(isOdd(groups[0], [3]) && !isOdd(groups[0], []));
  assert.deepEqual(groupsOf(''), { hint: '', groups: [] });
  assert.deepEqual(frameOf('File "a, line 7, in b.py", line 3, in <listcomp>'), [
    'File "a, line 7, in b.py", line 3, in ',
    '<listcomp>'
  ]);
  assert.deepEqual(frameOf('no answer: it has ended'), ['no answer: it has ended', '']);
});

test('stacks that were kept are shown only if they make sense', () => {
  const stall = { since: 5, stacks: 'rank 0', odd: [1, 'x'] };
  assert.deepEqual(stallOf({ status: 'stalled', extra: { stall } }), { text: 'rank 0', odd: [1], since: 5 });
  assert.equal(stallOf({ status: 'running', extra: { stall } }), null, 'it was the attempt before');
  for (const stall of [undefined, null, 7, {}, { since: '5', stacks: 'rank 0' }, { since: 5, stacks: [] }])
    assert.equal(stallOf({ status: 'stalled', extra: { stall } }), null);
});

test('a run that is over says what it waits for to go on, or why it could not', () => {
  const trans = {
    _n: (one: string, many: string, n: number) => (n === 1 ? one : many.replace('%1', String(n))),
    __: (text: string) => text
  } as never;
  const run = { id: 'r', status: 'stopped', ended: 10 } as RunDetail;
  const row = (more: Partial<RequestRow>): RequestRow =>
    ({ id: 'q', run: 'r', state: 'waiting', created: 11, count: 2, text: '', ...more }) as RequestRow;
  const found = requestOf(run, [
    row({}),
    row({ state: 'failed', created: 12, text: 'no room' }),
    row({ run: null, created: 13 }),
    row({ state: 'granted', created: 14 }),
    row({ run: 'other', created: 15 })
  ])!;
  assert.equal(requestText(found, trans), 'It could not be resumed:\nno room');
  assert.equal(
    requestText(row({ text: 'waiting for 1' }), trans),
    'It goes on when it has its 2 devices.\nwaiting for 1'
  );
  assert.equal(requestOf(run, [row({ created: 9 })]), undefined, 'it has gone on since');
  assert.equal(requestOf({ ...run, status: 'running' }, [row({})]), undefined);
  assert.equal(requestOf({ ...run, status: 'lost', ended: null }, [row({})])?.id, 'q');
});
