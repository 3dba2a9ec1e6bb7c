/** The sets of a sweep: a table to sort, and one value over one parameter. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { caretDownIcon, caretUpIcon, HTMLSelect, ReactWidget } from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import type { Message } from '@lumino/messaging';
import * as React from 'react';
import { given, setsText, value } from '../shared/format';
import { useNow, useRows } from '../shared/hooks';
import { inSight } from '../shared/window';
import { CommandIDs, type IBench, type Plain, type RunDetail, type RunRow, type Sets } from '../tokens';
import { statusIcon } from './icons';
import { pointsOf, Scatter } from './scatterview';
import { columnsOf, nextSorting, setsCsv, setsOf, sortSets, type Column, type Sorting } from './sets';
import { statusText } from '../shared/runs';
import { durationText } from './texts';

const ROW = 28; // pixels, in the stylesheet too
const FEW = 120; // so many rows are drawn as they are

interface Props {
  bench: IBench;
  commands: CommandRegistry;
  run: RunDetail;
  active: boolean;
  trans: TranslationBundle;
}

function cellText(column: Column, row: RunRow, trans: TranslationBundle): string {
  const found = column.read(row);
  if (found === undefined) return '';
  if (column.key === 'status') return statusText(row.status, trans);
  return column.key === 'duration'
    ? durationText(found as number)
    : column.group === 'parameter'
      ? given(found)
      : value(found);
}

const headText = ({ key, name }: Column, trans: TranslationBundle): string =>
  key === 'status' ? trans.__('status') : key === 'duration' ? trans.__('duration') : name;

function Head({
  column,
  sorting,
  onSort,
  trans
}: {
  column: Column;
  sorting: Sorting;
  onSort: (key: string) => void;
  trans: TranslationBundle;
}): React.JSX.Element {
  const mine = sorting.key === column.key;
  const Icon = sorting.down ? caretDownIcon : caretUpIcon;
  return (
    <th scope="col" aria-sort={mine ? (sorting.down ? 'descending' : 'ascending') : 'none'} data-group={column.group}>
      <button type="button" title={trans.__('Sort by %1', headText(column, trans))} onClick={() => onSort(column.key)}>
        {headText(column, trans)}
        {mine && <Icon.react tag="span" width="14px" height="14px" />}
      </button>
    </th>
  );
}

const Line = React.memo(
  ({
    row,
    number,
    columns,
    now,
    onOpen,
    onRun,
    trans
  }: {
    row: RunRow;
    number: number;
    columns: Column[];
    now: number;
    onOpen: (row: RunRow) => void;
    onRun: (row: RunRow) => void;
    trans: TranslationBundle;
  }) => {
    const Icon = statusIcon(row.status);
    const place =
      row.output ??
      (row.output_at
        ? trans.__('%1, which JupyterLab’s file browser does not reach: the run is opened', row.output_at)
        : '');
    void now; // a duration goes on
    return (
      <tr onClick={() => onOpen(row)} data-run={row.id} title={place}>
        <th scope="row">
          <button
            type="button"
            className="jp-lb-link"
            aria-label={trans.__('Open the notebook of set %1', number)}
            onClick={event => {
              event.stopPropagation();
              onOpen(row);
            }}
          >
            {number}
          </button>
        </th>
        {columns.map(column => (
          <td
            key={column.key}
            title={column.key === 'status' ? (row.reason ?? '') : undefined}
            data-number={typeof column.read(row) === 'number' || undefined}
          >
            {column.key !== 'status' ? (
              cellText(column, row, trans)
            ) : (
              <button
                type="button"
                className="jp-lb-link"
                aria-label={trans.__('%1: open the run of set %2', statusText(row.status, trans), number)}
                onClick={event => {
                  event.stopPropagation();
                  onRun(row);
                }}
              >
                <Icon.react tag="span" aria-hidden="true" />
                {cellText(column, row, trans)}
              </button>
            )}
          </td>
        ))}
        <td className="jp-lb-mod-reason">{row.status === 'failed' || row.status === 'lost' ? row.reason : ''}</td>
      </tr>
    );
  }
);

/** Of thousands of rows those in sight. */
function useWindow(count: number): {
  box: React.RefObject<HTMLDivElement>;
  range: [number, number];
  onScroll: () => void;
} {
  const box = React.useRef<HTMLDivElement>(null);
  const [range, setRange] = React.useState<[number, number]>([0, FEW]);
  const onScroll = React.useCallback(() => {
    const node = box.current;
    if (!node) return;
    const [first, last] =
      count <= FEW ? [0, count] : inSight(Math.max(0, node.scrollTop), node.clientHeight, ROW, count);
    setRange(old => (old[0] === first && old[1] === last ? old : [first, last]));
  }, [count]);
  React.useLayoutEffect(() => {
    const watch = new ResizeObserver(onScroll);
    if (box.current) watch.observe(box.current);
    onScroll();
    return () => watch.disconnect();
  }, [onScroll]);
  return { box, range, onScroll };
}

function Table({
  rows,
  columns,
  numbers,
  now,
  trans,
  ...open
}: {
  rows: RunRow[];
  columns: Column[];
  numbers: Map<string, number>;
  now: number;
  trans: TranslationBundle;
  onOpen: (row: RunRow) => void;
  onRun: (row: RunRow) => void;
}): React.JSX.Element {
  const [sorting, setSorting] = React.useState<Sorting>({ key: '', down: false });
  const sorted = React.useMemo(() => sortSets(rows, columns, sorting), [rows, columns, sorting]);
  const {
    box,
    range: [first, last],
    onScroll
  } = useWindow(sorted.length);
  const drawn = sorted.slice(first, Math.min(last, sorted.length));
  const gap = (count: number): React.JSX.Element | null =>
    count > 0 ? <tr aria-hidden="true" style={{ height: count * ROW }} /> : null;
  return (
    <div
      className="jp-lb-Sets-table"
      ref={box}
      onScroll={onScroll}
      role="region"
      tabIndex={0}
      aria-label={trans.__('Sets as a table')}
    >
      <table className="jp-lb-Table" aria-rowcount={sorted.length + 1}>
        <thead>
          <tr>
            <th scope="col">{trans.__('set')}</th>
            {columns.map(column => (
              <Head
                key={column.key}
                {...{ column, sorting, trans }}
                onSort={key => setSorting(nextSorting(sorting, key))}
              />
            ))}
            <th scope="col">{trans.__('reason')}</th>
          </tr>
        </thead>
        <tbody>
          {gap(first)}
          {drawn.map(row => (
            <Line
              key={row.key}
              row={row}
              number={numbers.get(row.id)!}
              {...{ columns, trans }}
              now={row.ended ? 0 : now}
              {...open}
            />
          ))}
          {gap(sorted.length - first - drawn.length)}
        </tbody>
      </table>
    </div>
  );
}

function Choice({
  label,
  columns,
  chosen,
  choose
}: {
  label: string;
  columns: Column[];
  chosen: Column;
  choose: (key: string) => void;
}): React.JSX.Element {
  return (
    <label>
      {label}{' '}
      <HTMLSelect value={chosen.key} onChange={event => choose(event.target.value)}>
        {columns.map(c => (
          <option key={c.key} value={c.key}>
            {c.name}
          </option>
        ))}
      </HTMLSelect>
    </label>
  );
}

/** One value over one parameter, both to be chosen. */
function Plot({
  rows,
  columns,
  trans,
  onOpen
}: {
  rows: RunRow[];
  columns: Column[];
  trans: TranslationBundle;
  onOpen: (row: RunRow) => void;
}): React.JSX.Element | null {
  const [chosen, setChosen] = React.useState({ x: '', y: '' });
  const parameters = columns.filter(c => c.group === 'parameter');
  const values = columns.filter(c => c.group === 'value' && rows.some(row => typeof c.read(row) === 'number'));
  const varies = (c: Column): boolean =>
    new Set(rows.map(row => JSON.stringify((c.read(row) as Plain | undefined) ?? null))).size > 1;
  const x = parameters.find(c => c.key === chosen.x) ?? parameters.find(varies) ?? parameters[0];
  const y = values.find(c => c.key === chosen.y) ?? values[0];
  if (!x) return null;
  if (!y)
    return (
      <p className="jp-lb-empty">
        {trans.__('Nothing to draw: lb.record("accuracy", .91) in the notebook gives each set a value.')}
      </p>
    );
  return (
    <div className="jp-lb-Sets-plot">
      <div className="jp-lb-Sets-choice">
        <Choice
          label={trans.__('Value')}
          columns={values}
          chosen={y}
          choose={key => setChosen({ ...chosen, y: key })}
        />
        <Choice
          label={trans.__('over')}
          columns={parameters}
          chosen={x}
          choose={key => setChosen({ ...chosen, x: key })}
        />
        <span>{trans._n('%1 point', '%1 points', pointsOf(rows, x, y).length)}</span>
      </div>
      <Scatter {...{ rows, x, y, trans, onOpen }} />
    </div>
  );
}

export function SetsView({ bench, commands, run, active, trans }: Props): React.JSX.Element {
  const look = useRows(bench.runs, active);
  const now = useNow(5);
  const rows = React.useMemo(() => setsOf(look.rows.values(), run.id), [look.rows, look.version, run.id]);
  const columns = React.useMemo(() => columnsOf(rows, now), [rows, now]);
  const numbers = React.useMemo(() => new Map(rows.map((row, i) => [row.id, i + 1])), [rows]);
  const onOpen = React.useCallback(
    (row: RunRow) => void commands.execute(CommandIDs.openOutput, { run: row.id, output: row.output ?? '' }),
    [commands]
  );
  const onRun = React.useCallback(
    (row: RunRow) => void commands.execute(CommandIDs.openRun, { run: row.id }),
    [commands]
  );
  const sets = run.extra.sets as Sets | undefined;
  if (!look.ready) return <p className="jp-lb-empty">{look.error || trans.__('Loading…')}</p>;
  return (
    <>
      <div className="jp-lb-Sets-state" role="status">
        {sets &&
          [
            setsText(sets, trans),
            sets.running ? trans.__('%1 running', sets.running) : '',
            sets.waiting ? trans.__('%1 waiting', sets.waiting) : ''
          ]
            .filter(Boolean)
            .join(', ')}
      </div>
      {rows.length ? (
        <>
          <Plot {...{ rows, columns, trans, onOpen }} />
          <Table {...{ rows, columns, numbers, now, trans, onOpen, onRun }} />
        </>
      ) : (
        <p className="jp-lb-empty">{trans.__('No set has begun yet: each waits for its devices.')}</p>
      )}
    </>
  );
}

export class SetsPage extends ReactWidget {
  private run: RunDetail | null = null;

  constructor(
    private readonly bench: IBench,
    private readonly commands: CommandRegistry,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-lb-Sets');
  }

  set(run: RunDetail): void {
    this.run = run;
    this.update();
  }

  /** What the table says, as a file. */
  async csv(): Promise<string> {
    const table = this.bench.runs();
    try {
      const rows = setsOf(table.rows.values(), this.run?.id ?? '');
      return setsCsv(rows, columnsOf(rows, Date.now() / 1000));
    } finally {
      table.dispose();
    }
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.update();
  }

  /** It lets its table go. */
  protected onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.update();
  }

  protected render(): React.JSX.Element | null {
    return (
      this.run && (
        <SetsView
          bench={this.bench}
          commands={this.commands}
          run={this.run}
          active={this.isVisible}
          trans={this.trans}
        />
      )
    );
  }
}
