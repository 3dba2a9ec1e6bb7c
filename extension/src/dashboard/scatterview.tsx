/** A value over a parameter: one point a set. The table beside it says the same. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type * as React from 'react';
import { value } from '../shared/format';
import type { Plain, RunRow } from '../tokens';
import { scaleOf } from './scatter';
import type { Column } from './sets';

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [620, 250, 64, 36, 8];

interface Point {
  row: RunRow;
  x: Plain;
  y: number;
}

export function pointsOf(rows: RunRow[], x: Column, y: Column): Point[] {
  return rows.flatMap(row => {
    const [a, b] = [x.read(row), y.read(row)];
    return a !== undefined && typeof b === 'number' && Number.isFinite(b) ? [{ row, x: a, y: b }] : [];
  });
}

const cut = (text: string): string => (text.length > 14 ? `${text.slice(0, 13)}…` : text);

export function Scatter({
  rows,
  x,
  y,
  trans,
  onOpen
}: {
  rows: RunRow[];
  x: Column;
  y: Column;
  trans: TranslationBundle;
  onOpen: (row: RunRow) => void;
}): React.JSX.Element {
  const points = pointsOf(rows, x, y);
  if (!points.length)
    return <p className="jp-lb-empty">{trans.__('No set has recorded a number “%1” yet.', y.name)}</p>;
  const [across, up] = [
    scaleOf(points.map(p => p.x)),
    scaleOf(
      points.map(p => p.y),
      { wide: 100, own: false }
    )
  ];
  const left = (x: Plain): number => LEFT + across.place(x) * (WIDTH - LEFT - 8);
  const top = (y: number): number => TOP + (1 - up.place(y)) * (HEIGHT - BOTTOM - TOP);
  const name = trans._n(
    '%2 over %3, %1 set; the table has the numbers',
    '%2 over %3, %1 sets; the table has the numbers',
    points.length,
    y.name,
    x.name
  );
  const axis = ({ name }: Column, log: boolean): string => (log ? trans.__('%1 (logarithmic)', name) : name);
  return (
    <svg className="jp-lb-Scatter" role="img" aria-label={name} viewBox={`0 0 ${WIDTH} ${HEIGHT}`}>
      {up.ticks.map(({ at, text }) => {
        const line = TOP + (1 - at) * (HEIGHT - BOTTOM - TOP);
        return (
          <g key={text}>
            <line x1={LEFT} x2={WIDTH} y1={line} y2={line} />
            <text x={LEFT - 6} y={line + 4} textAnchor="end">
              {cut(text)}
            </text>
          </g>
        );
      })}
      {across.ticks.map(({ at, text }) => (
        <text key={text} x={LEFT + at * (WIDTH - LEFT - 8)} y={HEIGHT - BOTTOM + 15} textAnchor="middle">
          {cut(text)}
        </text>
      ))}
      <text x={(LEFT + WIDTH) / 2} y={HEIGHT - 4} textAnchor="middle" className="jp-lb-mod-axis">
        {axis(x, across.log)}
      </text>
      <text
        transform={`translate(11 ${(HEIGHT - BOTTOM) / 2}) rotate(-90)`}
        textAnchor="middle"
        className="jp-lb-mod-axis"
      >
        {axis(y, up.log)}
      </text>
      {points.map(({ row, x: a, y: b }) => (
        <circle key={row.key} cx={left(a)} cy={top(b)} r={5} data-state={row.status} onClick={() => onOpen(row)}>
          <title>{`${row.arguments || row.name}\n${y.name} ${value(b)}`}</title>
        </circle>
      ))}
    </svg>
  );
}
