/** Draws a little in every frame, so that many curves at once stop nothing: neither the mouse nor a scroll. */

const BUDGET = 6; // milliseconds of a frame

export class Pacer {
  private readonly jobs = new Map<object, () => void>();
  private frame = 0;

  constructor(
    private readonly now = (): number => performance.now(),
    private readonly request = (step: () => void): number => requestAnimationFrame(step),
    private readonly forget = (id: number): void => cancelAnimationFrame(id)
  ) {}

  /** Do it soon; a later job for the same thing takes its place. */
  add(thing: object, job: () => void): void {
    this.jobs.set(thing, job);
    if (!this.frame) this.frame = this.request(() => this.step(this.now() + BUDGET));
  }

  /** One job, then the next when its microtasks are done (uPlot draws in one), until the time is up. */
  private step(end: number): void {
    this.one();
    queueMicrotask(() => {
      if (!this.jobs.size) this.frame = 0;
      else if (this.now() < end) this.step(end);
      else this.frame = this.request(() => this.step(this.now() + BUDGET));
    });
  }

  private one(): void {
    for (const [thing, job] of this.jobs) {
      this.jobs.delete(thing);
      return job();
    }
  }

  drop(thing: object): void {
    this.jobs.delete(thing);
  }

  /** Do all of it now. */
  flush(): void {
    while (this.jobs.size) this.one();
  }

  clear(): void {
    this.jobs.clear();
    if (this.frame) this.forget(this.frame);
    this.frame = 0;
  }
}
