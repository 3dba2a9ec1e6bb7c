/** What the browser asks and the kernel answers. The kernel's half is lepton_bench/display/live_plot.py. */

export interface Options {
  x: 'step' | 'time';
  smooth: number; // weight of the past, 0 to less than 1
  log: boolean;
  ranks: 'band' | 'lines' | number;
}

export interface Want extends Omit<Options, 'log'> {
  want: 'series';
  id: number;
  cursor: string; // of the last answer
  width: number; // pixels of one panel
  filter: string;
  range?: [number, number] | null; // what is looked at, in steps or seconds since the start; null: all
}

/** One line, or the two edges of a band; `columns` arrays follow its x in the buffers. */
export interface PartHead {
  kind: 'line' | 'band';
  label: string;
  rank: number;
  columns: number; // 1, 2 for a band, 2 for a line and its smoothed self
  wrong: number; // points that are not finite
  points: number; // before they were reduced
  last: number | null;
}

export interface SeriesReply {
  kind: 'series';
  id: number;
  cursor: string;
  x: 'step' | 'time';
  panels: { name: string; parts: PartHead[] }[];
  restarts: number[];
  chosen: number; // metrics that fit the filter; the first ones are in `panels`
  names: number; // all metrics
  more: boolean; // not everything is read yet
}

export type Reply =
  | SeriesReply
  | { kind: 'same'; id: number; cursor: string }
  | { kind: 'gone'; id: number; text: string }
  | { kind: 'end' }
  | { kind: 'code' };

/** What sends and receives: an anywidget model in a cell, something else in a panel. */
export interface Source {
  ask(want: Want): void;
  listen(take: (reply: Reply, buffers: DataView[]) => void): () => void;
}
