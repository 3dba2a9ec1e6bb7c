/** Runs: thousands of them, of which those in sight are drawn. */
import {
  useCallback,
  useDeferredValue,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
  type KeyboardEvent
} from 'react';
import { CommandIDs, type RunRow } from '../tokens';
import { useBench } from './context';
import { going, sortRuns, statusText, type Filter } from '../shared/runs';
import { useRows } from '../shared/hooks';
import { Empty, Pending } from './pieces';
import { RunLine } from './runrow';
import { arrange, parentOf, type Line } from './tree';
import { inSight, reveal, step } from '../shared/window';

const STATUSES = ['running', 'stalled', 'waiting', 'done', 'failed', 'stopped', 'lost', 'damaged'] as const;
const LINES = 3.7; // height of a row in font sizes

function FilterBar({
  filter,
  onChange,
  shown,
  all
}: {
  filter: Filter;
  onChange: (filter: Filter) => void;
  shown: number;
  all: number;
}): JSX.Element {
  const { trans } = useBench();
  return (
    <div className="jp-lb-filter" role="search" aria-label={trans.__('Runs')}>
      <input
        type="search"
        className="jp-mod-styled"
        placeholder={trans.__('Name, ID or arguments')}
        aria-label={trans.__('Search runs')}
        value={filter.text}
        onChange={event => onChange({ ...filter, text: event.target.value })}
      />
      <select
        className="jp-mod-styled"
        aria-label={trans.__('Status')}
        value={filter.status}
        onChange={event => onChange({ ...filter, status: event.target.value as Filter['status'] })}
      >
        <option value="">{trans.__('all')}</option>
        <option value="going">{trans.__('going on')}</option>
        {STATUSES.map(status => (
          <option key={status} value={status}>
            {statusText(status, trans)}
          </option>
        ))}
      </select>
      <span className="jp-lb-count" role="status">
        {shown === all ? trans._n('%1 run', '%1 runs', all) : trans.__('%1 of %2', shown, all)}
      </span>
    </div>
  );
}

/** The place of the list in its scrolled box, in pixels. */
function useScroll(): {
  box: React.RefObject<HTMLDivElement>;
  top: number;
  height: number;
  row: number;
  onScroll: () => void;
} {
  const box = useRef<HTMLDivElement>(null);
  const [place, setPlace] = useState({ top: 0, height: 400, row: 48 });
  const onScroll = useCallback(() => {
    const node = box.current;
    if (!node) return;
    const row = Math.round(parseFloat(getComputedStyle(node).fontSize) * LINES) || 48;
    setPlace(old =>
      old.top === node.scrollTop && old.height === node.clientHeight && old.row === row
        ? old
        : { top: node.scrollTop, height: node.clientHeight || old.height, row }
    );
  }, []);
  useLayoutEffect(() => {
    const watch = new ResizeObserver(onScroll);
    if (box.current) watch.observe(box.current);
    onScroll();
    return () => watch.disconnect();
  }, [onScroll]);
  return { box, ...place, onScroll };
}

/** A run that somebody wants to see; another turn, another wish. */
export interface Wish {
  run: string;
  turn: number;
}

interface ListProps {
  lines: Line[];
  wish: Wish | null;
  onToggle: (row: RunRow, open: boolean) => void;
}

function RunList({ lines, wish, onToggle }: ListProps): JSX.Element {
  const { commands, trans } = useBench();
  const { box, top, height, row: size, onScroll } = useScroll();
  const [chosen, setChosen] = useState('');
  const place = useRef({ index: 0, inside: false });
  const at = lines.findIndex(({ row }) => row.id === chosen);
  const index = at >= 0 ? at : Math.min(place.current.index, lines.length - 1); // the chosen one is gone: its neighbour
  const latest = useRef({ lines, index });
  latest.current = { lines, index };
  place.current.index = index;

  const focus = useCallback(
    (id: string) =>
      requestAnimationFrame(() =>
        box.current?.querySelector<HTMLElement>(`[data-run="${CSS.escape(id)}"]`)?.focus({ preventScroll: true })
      ),
    [box]
  );
  useEffect(() => {
    if (at < 0 && place.current.inside && lines[index]) focus(lines[index].row.id);
  });

  const onOpen = useCallback(
    (row: RunRow) => {
      setChosen(row.id);
      const command = row.kind === 'notebook' ? CommandIDs.openOutput : CommandIDs.openRun;
      if (commands.hasCommand(command))
        void commands.execute(command, {
          run: row.id,
          ...(row.kind === 'notebook' ? { output: row.output ?? '' } : {})
        });
    },
    [commands]
  );
  const move = useCallback(
    (to: number) => {
      const { row } = latest.current.lines[to];
      const node = box.current!;
      setChosen(row.id);
      node.scrollTop = reveal(to, node.scrollTop, node.clientHeight, size);
      focus(row.id);
    },
    [box, focus, size]
  );
  const met = useRef(0);
  const wished = wish && met.current < wish.turn ? lines.findIndex(({ row }) => row.id === wish.run) : -1;
  useEffect(() => {
    if (wished < 0) return;
    met.current = wish!.turn;
    move(wished);
  }, [wish, wished, move]);
  const onFocus = useCallback((id: string) => setChosen(id), []);
  const onKey = useCallback(
    (event: KeyboardEvent, row: RunRow) => {
      if (event.target !== event.currentTarget) return; // a button of the row
      const node = box.current!;
      const { lines, index } = latest.current;
      const to =
        sideways(event.key, lines, index, onToggle) ??
        step(event.key, index, lines.length, Math.max(1, Math.floor(node.clientHeight / size) - 1));
      if (to !== null) move(to);
      else if (event.key === 'Enter' || event.key === ' ') onOpen(row);
      else if (event.key === 'Delete')
        void commands.execute(going(row.status) ? CommandIDs.stopRun : CommandIDs.removeRun, {
          run: row.id,
          name: row.name,
          kind: row.kind
        });
      else return;
      event.preventDefault();
      event.stopPropagation();
    },
    [box, commands, move, onOpen, onToggle, size]
  );

  const [first, last] = inSight(top, height, size, lines.length);
  const drawn = lines.slice(first, last).map((line, i) => [line, first + i] as const);
  // the keyboard's row stays, so that the focus does
  if (index >= 0 && (index < first || index >= last)) drawn.push([lines[index], index]);
  return (
    <div
      className="jp-lb-list"
      ref={box}
      onScroll={onScroll}
      onFocus={() => (place.current.inside = true)}
      onBlur={event =>
        (place.current.inside = !event.relatedTarget
          ? place.current.inside && !event.target.isConnected
          : !!box.current?.contains(event.relatedTarget as Node))
      }
    >
      <div
        role="treegrid"
        aria-label={trans.__('Runs')}
        aria-rowcount={lines.length}
        style={{ height: lines.length * size }}
      >
        {drawn.map(([line, i]) => (
          <RunLine
            key={line.row.key}
            {...line}
            index={i}
            active={i === index}
            height={size}
            onFocus={onFocus}
            onKey={onKey}
            onOpen={onOpen}
            onToggle={onToggle}
          />
        ))}
      </div>
    </div>
  );
}

/** Left and right: close and open, or to what is above and below; null: another key. */
function sideways(
  key: string,
  lines: Line[],
  index: number,
  onToggle: (row: RunRow, open: boolean) => void
): number | null {
  const { row, open, depth } = lines[index];
  if (key === 'ArrowRight' && open !== null) {
    if (open) return index + 1;
    onToggle(row, true);
    return index;
  }
  if (key !== 'ArrowLeft' || (!open && !depth)) return null;
  if (!open) return Math.max(0, parentOf(lines, index));
  onToggle(row, false);
  return index;
}

export interface RunsProps {
  opened: ReadonlyMap<string, boolean>; // what somebody has opened or closed
  wish: Wish | null;
  onToggle: (run: string, open: boolean) => void;
}

export function Runs({ active, opened, wish, onToggle }: RunsProps & { active: boolean }): JSX.Element {
  const { bench, trans } = useBench();
  const { rows, version, ready, error } = useRows(bench.runs, active);
  const [filter, setFilter] = useState<Filter>({ text: '', status: '' });
  const wanted = useDeferredValue(filter);
  const sorted = useMemo(() => sortRuns(rows.values()), [rows, version]);
  const { lines, found } = useMemo(() => arrange(sorted, wanted, opened), [sorted, wanted, opened]);
  const toggle = useCallback((row: RunRow, open: boolean) => onToggle(row.id, open), [onToggle]);
  useEffect(() => {
    if (wish) setFilter({ text: '', status: '' }); // it could be hidden
  }, [wish]);
  if (!ready) return <Pending error={error} />;
  if (!sorted.length)
    return (
      <Empty>
        {trans.__('No runs yet. Launch one from a notebook: Launch… in its toolbar, or alloc.launch(train).')}
      </Empty>
    );
  return (
    <div className="jp-lb-runs">
      <FilterBar filter={filter} onChange={setFilter} shown={found} all={sorted.length} />
      {lines.length ? (
        <RunList lines={lines} wish={wish} onToggle={toggle} />
      ) : (
        <Empty>
          <p>{trans.__('No run fits.')}</p>
          <button
            type="button"
            className="jp-lb-button jp-mod-styled"
            onClick={() => setFilter({ text: '', status: '' })}
          >
            {trans.__('Show All')}
          </button>
        </Empty>
      )}
    </div>
  );
}
