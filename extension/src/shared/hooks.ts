/** From signals to React, at most once per frame. */
import type { ISignal } from '@lumino/signaling';
import { useEffect, useReducer, useRef, useState, useSyncExternalStore, type RefObject } from 'react';
import type { ITable, Row } from '../tokens';

export interface Look<T> {
  rows: ReadonlyMap<string, T>;
  version: number; // another one when rows have changed
  ready: boolean;
  error: string;
}

/** The rows of a table while somebody looks; the last ones afterwards. Many changes in one frame are one. */
export function useRows<T extends Row>(open: () => ITable<T>, active: boolean): Look<T> {
  const [look, setLook] = useState<Look<T>>({ rows: new Map(), version: 0, ready: false, error: '' });
  useEffect(() => {
    if (!active) return;
    const table = open();
    let frame = 0;
    const take = (): void => {
      frame = 0;
      setLook(old => ({ rows: table.rows, version: old.version + 1, ready: table.ready, error: table.error }));
    };
    const plan = (): void => {
      frame ||= requestAnimationFrame(take);
    };
    table.changed.connect(plan);
    if (table.ready || table.error) take();
    return () => {
      cancelAnimationFrame(frame);
      table.changed.disconnect(plan);
      table.dispose();
    };
  }, [open, active]);
  return look;
}

/** Draw again when a signal says so. */
export function useSignal(signal: ISignal<unknown, void>): void {
  const [, again] = useReducer((n: number) => n + 1, 0);
  useEffect(() => {
    signal.connect(again);
    return () => void signal.disconnect(again);
  }, [signal]);
}

/**
 * The focus for a form's first field when it opens. A command palette that closes gives it to the main area one or two
 * frames later: then it is taken once more.
 */
export function useFocus(field: RefObject<HTMLInputElement>): void {
  useEffect(() => {
    let frame = 0;
    const take = (left: number): void => {
      if (!field.current?.form?.contains(document.activeElement)) field.current?.select();
      if (left) frame = requestAnimationFrame(() => take(left - 1));
    };
    take(3);
    return () => cancelAnimationFrame(frame);
  }, [field]);
}

const lookers = new Set<() => void>();
let ticking: ReturnType<typeof setInterval> | undefined;
let second = Math.floor(Date.now() / 1000);

/** One clock for all ages; it stands still when nothing shows one. */
function watchClock(look: () => void): () => void {
  lookers.add(look);
  ticking ??= setInterval(() => {
    second = Math.floor(Date.now() / 1000);
    if (!document.hidden) lookers.forEach(l => l());
  }, 1000);
  return () => {
    lookers.delete(look);
    if (lookers.size) return;
    clearInterval(ticking);
    ticking = undefined;
  };
}

/** Unix time; in steps of so many seconds, so that little is drawn again. */
export function useNow(every = 1): number {
  return useSyncExternalStore(watchClock, () => second - (second % every));
}

/** Busy while work goes on; a second click does nothing. */
export function useBusy(): [boolean, (work: () => Promise<unknown>) => void] {
  const [busy, setBusy] = useState(false);
  const going = useRef(false);
  const run = (work: () => Promise<unknown>): void => {
    if (going.current) return;
    going.current = true;
    setBusy(true);
    void work().finally(() => {
      going.current = false;
      setBusy(false);
    });
  };
  return [busy, run];
}
