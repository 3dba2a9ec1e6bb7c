/** A page that nobody looks at asks for nothing, after a while. */

interface Pausable {
  pause(): void;
  resume(): void;
}

/** Follow the page in and out of sight; what is returned ends it. */
export function followVisibility(
  page: Pick<Document, 'hidden' | 'addEventListener' | 'removeEventListener'>,
  model: Pausable,
  seconds: () => number
): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = (): void => {
    clearTimeout(timer);
    if (!page.hidden) return model.resume();
    if (seconds() > 0) timer = setTimeout(() => model.pause(), seconds() * 1000);
  };
  page.addEventListener('visibilitychange', look);
  return () => {
    clearTimeout(timer);
    page.removeEventListener('visibilitychange', look);
  };
}
