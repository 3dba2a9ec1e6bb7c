/** Runs: thousands of them, of which those in sight are drawn. */
import { useCallback, useDeferredValue, useEffect, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent } from 'react';
import { CommandIDs, type RunRow } from '../tokens';
import { useBench } from './context';
import { filterRuns, going, sortRuns, type Filter } from './filter';
import { useRows } from './hooks';
import { Empty, Pending } from './pieces';
import { RunLine, statusText } from './runrow';
import { inSight, reveal, step } from './window';

const STATUSES = ['running', 'waiting', 'done', 'failed', 'stopped', 'lost', 'damaged'] as const;
const LINES = 3.7; // height of a row in font sizes

function FilterBar({ filter, onChange, shown, all }: { filter: Filter; onChange: (filter: Filter) => void; shown: number; all: number }): JSX.Element {
  const { trans } = useBench();
  return (
    <div className="jp-lb-filter" role="search" aria-label={trans.__('Runs')}>
      <input type="search" className="jp-mod-styled" placeholder={trans.__('Name, ID or arguments')} aria-label={trans.__('Search runs')} value={filter.text}
        onChange={event => onChange({ ...filter, text: event.target.value })} />
      <select className="jp-mod-styled" aria-label={trans.__('Status')} value={filter.status} onChange={event => onChange({ ...filter, status: event.target.value as Filter['status'] })}>
        <option value="">{trans.__('all')}</option>
        <option value="going">{trans.__('going on')}</option>
        {STATUSES.map(status => <option key={status} value={status}>{statusText(status, trans)}</option>)}
      </select>
      <span className="jp-lb-count" role="status">{shown === all ? trans._n('%1 run', '%1 runs', all) : trans.__('%1 of %2', shown, all)}</span>
    </div>
  );
}

/** The place of the list in its scrolled box, in pixels. */
function useScroll(): { box: React.RefObject<HTMLDivElement>; top: number; height: number; row: number; onScroll: () => void } {
  const box = useRef<HTMLDivElement>(null);
  const [place, setPlace] = useState({ top: 0, height: 400, row: 48 });
  const onScroll = useCallback(() => {
    const node = box.current;
    if (!node) return;
    const row = Math.round(parseFloat(getComputedStyle(node).fontSize) * LINES) || 48;
    setPlace(old => (old.top === node.scrollTop && old.height === node.clientHeight && old.row === row ? old : { top: node.scrollTop, height: node.clientHeight || old.height, row }));
  }, []);
  useLayoutEffect(() => {
    const watch = new ResizeObserver(onScroll);
    if (box.current) watch.observe(box.current);
    onScroll();
    return () => watch.disconnect();
  }, [onScroll]);
  return { box, ...place, onScroll };
}

function RunList({ rows }: { rows: RunRow[] }): JSX.Element {
  const { commands, trans } = useBench();
  const { box, top, height, row: size, onScroll } = useScroll();
  const [chosen, setChosen] = useState('');
  const place = useRef({ index: 0, inside: false });
  const at = rows.findIndex(row => row.id === chosen);
  const index = at >= 0 ? at : Math.min(place.current.index, rows.length - 1); // the chosen one is gone: its neighbour
  const latest = useRef({ rows, index });
  latest.current = { rows, index };
  place.current.index = index;

  const focus = useCallback((id: string) => requestAnimationFrame(() => box.current?.querySelector<HTMLElement>(`[data-run="${CSS.escape(id)}"]`)?.focus({ preventScroll: true })), [box]);
  useEffect(() => {
    if (at < 0 && place.current.inside && rows[index]) focus(rows[index].id);
  });

  const onOpen = useCallback((row: RunRow) => {
    setChosen(row.id);
    if (commands.hasCommand(CommandIDs.openRun)) void commands.execute(CommandIDs.openRun, { run: row.id });
  }, [commands]);
  const onFocus = useCallback((id: string) => setChosen(id), []);
  const onKey = useCallback((event: KeyboardEvent, row: RunRow) => {
    if (event.target !== event.currentTarget) return; // a button of the row
    const node = box.current!;
    const to = step(event.key, latest.current.index, latest.current.rows.length, Math.max(1, Math.floor(node.clientHeight / size) - 1));
    if (to !== null) {
      const next = latest.current.rows[to];
      setChosen(next.id);
      node.scrollTop = reveal(to, node.scrollTop, node.clientHeight, size);
      focus(next.id);
    } else if (event.key === 'Enter' || event.key === ' ') onOpen(row);
    else if (event.key === 'Delete') void commands.execute(going(row.status) ? CommandIDs.stopRun : CommandIDs.removeRun, { run: row.id, name: row.name });
    else return;
    event.preventDefault();
    event.stopPropagation();
  }, [box, commands, focus, onOpen, size]);

  const [first, last] = inSight(top, height, size, rows.length);
  const drawn = rows.slice(first, last).map((row, i) => [row, first + i] as const);
  if (index >= 0 && (index < first || index >= last)) drawn.push([rows[index], index]); // the keyboard's row stays, so that the focus does
  return (
    <div className="jp-lb-list" ref={box} onScroll={onScroll} onFocus={() => (place.current.inside = true)} onBlur={event => (place.current.inside = !event.relatedTarget ? place.current.inside && !event.target.isConnected : !!box.current?.contains(event.relatedTarget as Node))}>
      <div role="grid" aria-label={trans.__('Runs')} aria-rowcount={rows.length} style={{ height: rows.length * size }}>
        {drawn.map(([row, i]) => <RunLine key={row.key} row={row} index={i} active={i === index} height={size} onFocus={onFocus} onKey={onKey} onOpen={onOpen} />)}
      </div>
    </div>
  );
}

export function Runs({ active }: { active: boolean }): JSX.Element {
  const { bench, trans } = useBench();
  const { rows, version, ready, error } = useRows(bench.runs, active);
  const [filter, setFilter] = useState<Filter>({ text: '', status: '' });
  const wanted = useDeferredValue(filter);
  const sorted = useMemo(() => sortRuns(rows.values()), [rows, version]);
  const shown = useMemo(() => filterRuns(sorted, wanted), [sorted, wanted]);
  if (!ready) return <Pending error={error} />;
  if (!sorted.length) return <Empty>{trans.__('No runs yet. Launch one from a notebook: Launch… in its toolbar, or alloc.launch(train).')}</Empty>;
  return (
    <div className="jp-lb-runs">
      <FilterBar filter={filter} onChange={setFilter} shown={shown.length} all={sorted.length} />
      {shown.length ? <RunList rows={shown} /> : (
        <Empty>
          <p>{trans.__('No run fits.')}</p>
          <button type="button" className="jp-lb-button jp-mod-styled" onClick={() => setFilter({ text: '', status: '' })}>{trans.__('Show All')}</button>
        </Empty>
      )}
    </div>
  );
}
