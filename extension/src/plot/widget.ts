/** The plot in a cell: an anywidget that is never displayed, and draws over the picture that its cell has. */
import base from 'uplot/dist/uPlot.min.css';
import { Anchor } from './anchor';
import type { Options, Reply, Source } from './messages';
import { Renderer } from './renderer';
import own from './style.css';

interface Model {
  get(name: string): unknown;
  send(content: object): void;
  on(name: string, callback: (...given: never[]) => void): void;
  off(name: string, callback: (...given: never[]) => void): void;
}

function addStyle(): void {
  const id = 'lepton-bench-plot-style';
  if (document.getElementById(id)) return;
  const style = document.createElement('style');
  style.id = id;
  style.textContent = base + own;
  document.head.append(style);
}

/** Makes the plot live; what is returned takes it away again, and the picture shows. */
export function start(model: Model): () => void {
  addStyle();
  const source: Source = {
    ask: want => model.send(want),
    listen: take => {
      const on = (reply: Reply, buffers: DataView[]): void => take(reply, buffers);
      model.on('msg:custom', on as never);
      return () => model.off('msg:custom', on as never);
    }
  };
  const { title, empty, ...options } = model.get('options') as Partial<Options> & { title: string; empty?: string };
  const renderer = new Renderer(source, options, title, empty ? { empty } : {});
  const anchor = new Anchor(model.get('letters') as string, renderer.root, () => renderer.moved());
  let stopped = false;
  const stop = (picture?: DataView): void => {
    if (stopped) return;
    stopped = true;
    unlisten();
    model.off('comm_live_update', lost);
    anchor.release(picture);
    renderer.destroy();
  };
  const lost = (): void => stop(); // the kernel is gone or was started again; the picture is what there is
  const unlisten = source.listen((reply, buffers) => reply.kind === 'end' && stop(buffers[0]));
  model.on('comm_live_update', lost);
  return () => stop();
}
