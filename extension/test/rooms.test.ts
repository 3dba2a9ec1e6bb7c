import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';

const PANELS = ['dashboard', 'displays', 'headless', 'notebook', 'sidebar', 'statusbar'];

/** Every import between files of src/: [from, to]. */
function imports(): [string, string][] {
  const files = (readdirSync('src', { recursive: true }) as string[]).filter(name => /\.tsx?$/.test(name));
  return files.flatMap(file => {
    const targets = [...readFileSync(join('src', file), 'utf8').matchAll(/(?:from|import\(?)\s*'(\.[^']*)'/g)];
    return targets.map(([, target]): [string, string] => [file, normalize(join(dirname(file), target))]);
  });
}

const folder = (path: string): string => (path.includes('/') ? path.split('/')[0] : '');

test('no panel imports another panel’s folder', () => {
  const crossing = imports().filter(
    ([from, to]) => PANELS.includes(folder(from)) && PANELS.includes(folder(to)) && folder(from) !== folder(to)
  );
  assert.deepEqual(crossing, []);
});

test('what panels share imports no panel', () => {
  const shared = imports().filter(([from]) => ['shared', 'plot', 'commands'].includes(folder(from)));
  assert.ok(shared.length > 20);
  assert.deepEqual(
    shared.filter(([, to]) => PANELS.includes(folder(to))),
    []
  );
});

test('only request.ts talks to the network', () => {
  const files = (readdirSync('src', { recursive: true }) as string[]).filter(name => /\.tsx?$/.test(name));
  const network = files.filter(name =>
    /(?<![.\w])fetch\(|new WebSocket\(|XMLHttpRequest|ServerConnection\./.test(readFileSync(join('src', name), 'utf8'))
  );
  assert.deepEqual(network, ['request.ts']);
});
