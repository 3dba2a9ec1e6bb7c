/** Outputs that carry the id of a display: where they stand in a notebook. Written by lepton_bench/display/persistent.py. */

export interface Mark {
  display: string;
  run: string;
}

/** What is needed of a cell's outputs; JupyterLab's IOutputAreaModel has it. */
export interface Outputs {
  readonly length: number;
  get(index: number): { metadata: unknown };
  set(index: number, value: never): void;
}

export function markOf(metadata: unknown): Mark | null {
  const found = (metadata as { lepton_bench?: Partial<Mark> } | null | undefined)?.lepton_bench;
  return typeof found?.display === 'string'
    ? { display: found.display, run: typeof found.run === 'string' ? found.run : '' }
    : null;
}

/** All marks of a notebook, without repeats. */
export function marksIn(areas: Iterable<Outputs>): Mark[] {
  const found = new Map<string, Mark>();
  for (const area of areas) {
    for (let i = 0; i < area.length; i++) {
      const mark = markOf(area.get(i).metadata);
      if (mark) found.set(mark.display, mark);
    }
  }
  return [...found.values()];
}

/** Put new data wherever that display is shown. */
export function updateDisplay(areas: Iterable<Outputs>, display: string, data: object, metadata: object): number {
  let count = 0;
  for (const area of areas) {
    for (let i = 0; i < area.length; i++) {
      if (markOf(area.get(i).metadata)?.display !== display) continue;
      area.set(i, { output_type: 'display_data', data, metadata } as never);
      count++;
    }
  }
  return count;
}
