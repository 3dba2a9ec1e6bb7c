/**
 * Stands in for a picture in the page, wherever JupyterLab draws it: an output is drawn anew when it is updated or
 * scrolled into view.
 */

const PREFIX = 'data:image/png;base64,';
const HEADER = 44; // letters of a PNG's signature and header; the mark stands behind them

/** The picture that carries these letters. */
export function findPicture(letters: string, root: ParentNode = document): HTMLImageElement | null {
  for (const image of root.querySelectorAll<HTMLImageElement>(`img[src^="${PREFIX}"]`)) {
    if (image.getAttribute('src')!.startsWith(letters, PREFIX.length + HEADER)) return image;
  }
  return null;
}

export class Anchor {
  private image: HTMLImageElement | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly observer: MutationObserver;

  constructor(
    private readonly letters: string,
    private readonly element: HTMLElement,
    private readonly moved: () => void
  ) {
    this.observer = new MutationObserver(() => this.check());
    this.observer.observe(document.body, { childList: true, subtree: true });
    this.attach();
  }

  get attached(): boolean {
    return !!this.image?.isConnected && this.image.nextSibling === this.element;
  }

  /**
   * Takes the place again at once where it was lost, so that nothing flickers; looks for it now and then where there
   * is none.
   */
  private check(): void {
    if (this.attached) return;
    if (this.image) return this.attach();
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.attach();
    }, 100);
  }

  private attach(): void {
    this.image = findPicture(this.letters);
    if (!this.image) return this.element.remove();
    this.image.style.display = 'none';
    this.image.after(this.element);
    this.moved();
  }

  /** The picture shows again, or the one that is given. */
  release(png?: DataView): void {
    this.observer.disconnect();
    clearTimeout(this.timer);
    this.element.remove();
    const image = this.image?.isConnected ? this.image : findPicture(this.letters);
    if (!image) return;
    image.style.display = '';
    if (png?.byteLength) image.src = PREFIX + toBase64(png);
  }
}

function toBase64(view: DataView): string {
  let text = '';
  for (let i = 0; i < view.byteLength; i++) text += String.fromCharCode(view.getUint8(i));
  return btoa(text);
}
