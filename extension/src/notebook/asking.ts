/** Devices for a notebook: asked for at the server, known in the kernel once they are granted. */
import type { IBench, AllocateOptions, RequestRow } from '../tokens';

/** What became of a request. */
export type Ending = { state: 'granted'; allocation: string } | { state: 'failed'; text: string } | { state: 'gone' };

/** Ask, and follow the request to its end, however long it waits; it also waits without us. */
export async function askForDevices(bench: IBench, options: AllocateOptions): Promise<Ending> {
  const requests = bench.requests();
  try {
    const id = await bench.allocate(options);
    return await new Promise<Ending>(resolve => {
      let seen = false;
      const look = (): void => {
        const row = requests.rows.get(id);
        seen ||= !!row;
        const ending = row ? endingOf(row) : seen ? ({ state: 'gone' } as const) : null;
        if (!ending) return;
        requests.changed.disconnect(look);
        resolve(ending);
      };
      requests.changed.connect(look);
      look();
    });
  } finally {
    requests.dispose();
  }
}

function endingOf(row: RequestRow): Ending | null {
  if (row.state === 'granted') return { state: 'granted', allocation: row.allocation ?? row.name };
  if (row.state === 'failed') return { state: 'failed', text: row.text };
  return row.state === 'cancelled' ? { state: 'gone' } : null;
}
