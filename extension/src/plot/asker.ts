/**
 * When to ask whoever has the numbers: one question at a time, about every second, less often when nothing changes or
 * nobody answers.
 */

const SHORTEST = 1000; // milliseconds
const LONGEST = 5000;
const PATIENCE = 6000;

export class Asker {
  interval = SHORTEST;
  silent = 0; // questions without an answer, in a row
  private id = 0;
  private waiting = false;
  private next = 0;

  constructor(private readonly ask: (id: number) => void) {}

  /** Called often; asks when it is time. */
  tick(now: number): void {
    if (now < this.next) return;
    if (this.waiting) this.silent++;
    this.waiting = true;
    this.next = now + PATIENCE * Math.min(1 + this.silent, 5);
    this.ask(++this.id);
  }

  /** An answer came; whether it is the one to the last question. */
  answered(id: number, news: boolean, now: number): boolean {
    if (id !== this.id) return false;
    this.waiting = false;
    this.silent = 0;
    this.interval = news ? SHORTEST : Math.min(this.interval * 1.3, LONGEST);
    this.next = now + this.interval;
    return true;
  }

  /** Nothing more will change: ask no more until `now`. */
  rest(): void {
    this.next = Infinity;
  }

  /** Ask at the next tick: an option was changed, or the plot came into view. */
  now(): void {
    this.interval = SHORTEST;
    this.waiting = false;
    this.next = 0;
  }
}
