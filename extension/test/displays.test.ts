import assert from 'node:assert/strict';
import { test } from 'node:test';
import { marksIn, updateDisplay, type Outputs } from '../src/displays/outputs';

/** Outputs as JupyterLab's model has them. */
class Area implements Outputs {
  constructor(readonly values: { metadata?: unknown; data?: object }[]) {}
  get length(): number {
    return this.values.length;
  }
  get(index: number): { metadata: unknown } {
    return { metadata: this.values[index].metadata };
  }
  set(index: number, value: never): void {
    this.values[index] = value;
  }
}

const mark = (display: string, run?: string): object => ({ lepton_bench: { display, ...(run ? { run } : {}) } });

test('marks are found once, whatever else stands there', () => {
  const areas = [
    new Area([{ metadata: {} }, { metadata: mark('a', 'r') }, {}]),
    new Area([{ metadata: mark('a', 'r') }, { metadata: mark('b') }, { metadata: { lepton_bench: 3 } }])
  ];
  assert.deepEqual(marksIn(areas), [
    { display: 'a', run: 'r' },
    { display: 'b', run: '' }
  ]);
});

test('new data goes to each place that shows the display, and stays marked', () => {
  const areas = [new Area([{ metadata: mark('a') }, { metadata: mark('b') }]), new Area([{ metadata: mark('a') }])];
  assert.equal(updateDisplay(areas, 'a', { 'text/plain': 'new' }, mark('a')), 2);
  assert.deepEqual(areas[1].values[0], {
    output_type: 'display_data',
    data: { 'text/plain': 'new' },
    metadata: mark('a')
  });
  assert.deepEqual(areas[0].values[1], { metadata: mark('b') });
  assert.equal(updateDisplay(areas, 'gone', {}, {}), 0);
});
