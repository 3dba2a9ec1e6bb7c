/**
 * The launching cell's output of a run whose kernel is gone: when the run has ended, the Jupyter server says what the
 * kernel would have shown.
 */
import type { IBench, ITable, RunDetail } from '../tokens';
import type { Mark } from './outputs';

const GOES_ON = ['waiting', 'running', 'stalled'];

export class RunOutput {
  private readonly row: ITable<RunDetail>;
  private over = false;

  constructor(
    private readonly bench: IBench,
    private readonly mark: Mark,
    private readonly show: (data: object, metadata: object) => void
  ) {
    this.row = bench.run(mark.run);
    this.row.changed.connect(this.refresh, this);
    this.refresh();
  }

  private refresh(): void {
    const row = this.row.rows.get(this.mark.run);
    if (this.row.error) return this.dispose(); // the run was removed: what was shown stays
    if (this.over || !row || GOES_ON.includes(row.status)) return;
    this.dispose();
    this.bench.output(this.mark.run).then(
      data => this.show(data, { lepton_bench: this.mark }),
      reason => console.warn(reason)
    );
  }

  dispose(): void {
    this.over = true;
    this.row.dispose();
  }
}
