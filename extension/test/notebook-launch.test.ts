/** The launch dialog's state, with a kernel that answers as it is told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PromiseDelegate } from '@lumino/coreutils';
import { Signal } from '@lumino/signaling';
import { KernelError, type Field, type Introspection } from '../src/notebook/answers';
import type { IAsker } from '../src/notebook/kernel';
import { LaunchModel } from '../src/notebook/launchmodel';
import { stateOf } from '../src/notebook/state';
import type { AllocationRow } from '../src/tokens';

const trans = {
  __: (text: string, ...values: unknown[]) => text.replace(/%(\d)/g, (_, n: string) => String(values[Number(n) - 1]))
};
const field = (name: string, more: Partial<Field> = {}): Field => ({
  name,
  kind: 'int',
  default: '5',
  required: false,
  help: '',
  choices: [],
  annotation: '',
  optional: false,
  initial: '5',
  ...more
});
const found = (...functions: string[]): Introspection => ({
  version: '0.1.0',
  held: { 'quiet-otter': 'alloc' },
  names: { library: 'lb', import: '', allocation: 'alloc_2', run: 'run' },
  functions: functions.map(name => ({
    name,
    doc: '',
    module: '__main__',
    left_out: [],
    fields: [field('epochs'), field('data', { required: true, default: '', initial: '' })]
  }))
});

class Kernel implements IAsker {
  busy = false;
  busyChanged = new Signal<this, void>(this);
  lost = new Signal<this, KernelError>(this);
  questions: { expression: string; answer: PromiseDelegate<unknown> }[] = [];
  ask<T>(expression: string): Promise<T> {
    const answer = new PromiseDelegate<unknown>();
    this.questions.push({ expression, answer });
    return answer.promise as Promise<T>;
  }
  async answer(content: unknown): Promise<void> {
    this.questions.shift()!.answer.resolve(content);
    await new Promise(resolve => setTimeout(resolve));
  }
  dispose(): void {}
}

const own = { key: 'quiet-otter', name: 'quiet-otter', mine_kernel: 'k', state: 'idle', created: 1 } as AllocationRow;
const around = (...rows: AllocationRow[]) => ({
  state: stateOf('k', rows, []),
  devices: [{ kind: 'cpu' }, { kind: 'cpu' }]
});
const open = async (...functions: string[]): Promise<[Kernel, LaunchModel]> => {
  const kernel = new Kernel();
  const model = new LaunchModel(kernel, around(own), trans);
  void model.look();
  await kernel.answer(found(...functions));
  return [kernel, model];
};
const ok = (call: string) => ({ call, problems: {}, gone: false });

test('the form is of the function defined last, on the notebook’s own allocation', async () => {
  const [kernel, model] = await open('evaluate', 'train');
  assert.deepEqual([model.phase, model.chosen?.name, model.options.place], ['ready', 'train', 'quiet-otter']);
  await kernel.answer({ call: '', problems: { data: 'is needed' }, gone: false });
  assert.equal(model.problemOf('data'), '', 'nobody has been there yet');
  assert.equal(await model.submit(), null);
  assert.equal(model.problemOf('data'), 'is needed');
  assert.equal(model.code, 'run = alloc.launch(train, …)\nrun');
});

test('what is typed quickly is asked once, the newest', async () => {
  const [kernel, model] = await open('train');
  for (const value of ['a', 'ab', 'abc']) model.set('data', value);
  assert.equal(kernel.questions.length, 1, 'one question is under way');
  await kernel.answer({ call: '', problems: {}, gone: false });
  assert.equal(kernel.questions.length, 1);
  assert.match(kernel.questions[0].expression, /abc/);
  const code = model.submit();
  await kernel.answer(ok('train, data=abc'));
  assert.equal(await code, 'run = alloc.launch(train, data=abc)\nrun', 'pressed before the answer came');
  assert.equal(await model.submit(), null, 'the second click inserts nothing');
});

test('two clicks before the answer are one cell', async () => {
  const [kernel, model] = await open('train');
  const both = Promise.all([model.submit(), model.submit()]);
  await kernel.answer(ok('train'));
  assert.deepEqual((await both).filter(Boolean).length, 1);
});

test('a kernel that dies under the dialog is said, and looking again goes on with what was typed', async () => {
  const [kernel, model] = await open('train', 'evaluate');
  await kernel.answer(ok('evaluate'));
  model.choose('train');
  model.set('data', 'cifar');
  kernel.lost.emit(new KernelError('The kernel has died.'));
  assert.deepEqual([model.phase, model.problem?.message], ['problem', 'The kernel has died.']);
  assert.equal(await model.submit(), null);
  kernel.questions = [];
  void model.look();
  await kernel.answer(found('train'));
  assert.deepEqual([model.phase, model.valueOf('data')], ['ready', 'cifar']);
  await kernel.answer(ok('train, data=cifar'));
  assert.match((await model.submit())!, /data=cifar/);
});

test('an answer of before the death is not taken', async () => {
  const kernel = new Kernel();
  const model = new LaunchModel(kernel, around(), trans);
  void model.look();
  kernel.lost.emit(new KernelError('The kernel has died.'));
  await kernel.answer(found('train'));
  assert.equal(model.phase, 'problem');
});

test('no function, a busy kernel, an error', async () => {
  const kernel = new Kernel();
  const model = new LaunchModel(kernel, around(), trans);
  kernel.busy = true;
  void model.look();
  assert.ok(model.busy);
  kernel.busy = false;
  await kernel.answer({ ...found(), held: {} });
  assert.deepEqual([model.phase, model.options.place], ['empty', '']);
  void model.look();
  kernel.questions.shift()!.answer.reject(new KernelError('lepton_bench is not installed', 'install it'));
  await new Promise(resolve => setTimeout(resolve));
  assert.deepEqual([model.phase, model.problem?.hint], ['problem', 'install it']);
});

test('a function that is gone is looked for again', async () => {
  const [kernel, model] = await open('train');
  await kernel.answer({ call: '', problems: {}, gone: true });
  assert.equal(model.phase, 'asking');
  await kernel.answer(found('other'));
  assert.equal(model.chosen?.name, 'other');
});

test('an allocation that is given back under the dialog is no longer chosen; one that was chosen stays', async () => {
  const [kernel, model] = await open('train');
  await kernel.answer(ok('train'));
  const other = { ...own, key: 'late-fox', name: 'late-fox', mine_kernel: null, label: 'b.ipynb' };
  model.surround(around(own, other));
  assert.deepEqual(
    model.places.map(p => p.key),
    ['quiet-otter', 'late-fox', '']
  );
  model.setOption('place', 'late-fox');
  model.surround(around(own, other));
  assert.equal(model.code, 'alloc_2 = lb.attach("late-fox")\nrun = alloc_2.launch(train)\nrun');
  model.surround(around(own));
  assert.equal(model.options.place, 'quiet-otter');
  model.setOption('place', '');
  model.surround(around(own));
  assert.equal(model.options.place, '', 'new devices were asked for');
  model.setOption('count', '3');
  assert.match(model.optionProblems.count, /only 2/);
  assert.equal(await model.submit(), null);
  model.surround(around());
  assert.deepEqual(
    model.places.map(p => p.key),
    [''],
    'the kernel had it in hand, the server says that it is gone'
  );
});
