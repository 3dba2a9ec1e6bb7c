/** Shows the lines that are in sight, of as many as there are; follows the end until somebody scrolls up. */
import { LogBuffer } from './logbuffer';
import { pieces } from './logtext';

export const LINE = 18; // pixels, as in dashboard.css
const AHEAD = 30; // lines drawn above and below what is in sight

export class LogView {
  readonly node = document.createElement('div');
  readonly buffer = new LogBuffer();
  private readonly room = document.createElement('div');
  private readonly shown = document.createElement('div');
  private frame = 0;
  private wanted = '';
  private current = -1;
  private drawn = '';
  private wrote = 0;
  following = true;

  /** `moved` is called after every scroll, with what is near. */
  constructor(private readonly moved: (near: { top: boolean; bottom: boolean }) => void) {
    this.node.className = 'jp-lb-Log-view';
    this.node.tabIndex = 0;
    this.node.setAttribute('role', 'log');
    this.node.setAttribute('aria-live', 'off'); // a training writes faster than anybody can hear
    this.shown.className = 'jp-lb-Log-lines';
    this.room.append(this.shown);
    this.node.append(this.room);
    this.node.addEventListener('scroll', () => this.scrolled(), { passive: true });
    this.node.addEventListener('wheel', event => event.deltaY < 0 && this.stay(), { passive: true });
    this.node.addEventListener('keydown', event => ['ArrowUp', 'PageUp', 'Home'].includes(event.key) && this.stay());
  }

  /** Somebody looks back. */
  private stay(): void {
    if (this.node.scrollHeight > this.node.clientHeight) this.following = false;
  }

  private scrolled(): void {
    const { scrollTop, clientHeight, scrollHeight } = this.node;
    if (!clientHeight) return; // hidden
    // the lines are about to be drawn anew, and it was no hand that moved them
    if (this.following && this.frame) return;
    if (scrollTop !== this.wrote) this.following = this.buffer.atEnd && scrollTop + clientHeight >= scrollHeight - LINE;
    this.draw();
    this.moved({
      top: !this.following && scrollTop < 40 * LINE,
      bottom: scrollTop + clientHeight > scrollHeight - 40 * LINE
    });
  }

  /** The buffer was changed: so many lines more stand above what was in sight, fewer when negative. */
  changed(above = 0): void {
    this.drawn = '';
    this.room.style.height = `${this.buffer.length * LINE}px`;
    if (above && !this.following) this.put(this.node.scrollTop + above * LINE);
    this.draw();
  }

  private put(top: number): void {
    this.node.scrollTop = top;
    this.wrote = this.node.scrollTop;
  }

  /** As soon as there is a frame, however often it is called. */
  draw(): void {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.drawNow();
    });
  }

  private drawNow(): void {
    if (!this.node.clientHeight) return;
    if (this.following) this.put(this.node.scrollHeight);
    const first = Math.max(0, Math.floor(this.node.scrollTop / LINE) - AHEAD);
    const count = Math.ceil(this.node.clientHeight / LINE) + 2 * AHEAD;
    const state = `${first} ${count} ${this.wanted} ${this.current}`;
    if (state === this.drawn) return;
    this.drawn = state;
    this.shown.style.transform = `translateY(${first * LINE}px)`;
    this.shown.replaceChildren(...this.buffer.slice(first, first + count).map((line, k) => this.row(line, first + k)));
  }

  private row(line: string, index: number): HTMLElement {
    const row = document.createElement('div');
    if (index === this.current) row.className = 'jp-mod-current';
    for (const { text, color, bold, found } of pieces(line, this.wanted)) {
      const span = document.createElement(found ? 'mark' : 'span');
      span.textContent = text;
      if (color) span.dataset.color = color;
      if (bold) span.className = 'jp-mod-bold';
      row.append(span);
    }
    if (!line) row.append('\n'); // is there when it is copied
    return row;
  }

  /** Mark a text wherever it is in sight. */
  mark(wanted: string): void {
    this.wanted = wanted;
    this.current = -1;
    this.draw();
  }

  /** Bring a line to the middle. */
  show(index: number): void {
    this.following = false;
    this.current = index;
    this.put(Math.max(0, index * LINE - this.node.clientHeight / 2));
    this.draw();
  }

  follow(): void {
    this.following = true;
    this.draw();
  }

  dispose(): void {
    cancelAnimationFrame(this.frame);
    this.node.remove();
  }
}
