/** The plots of a run: the renderer that cells have, with more room. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';
import type { Options } from '../plot/messages';
import { Renderer } from '../plot/renderer';
import type { IBench } from '../tokens';
import { fileName } from './texts';

export interface PlotsOptions {
  system?: boolean;
  options?: Partial<Options>;
  empty: string;
  drawn?: () => void;
}

export class PlotsPage extends Widget {
  private readonly renderer: Renderer;

  constructor(
    bench: IBench,
    private readonly run: string,
    trans: TranslationBundle,
    { system = false, options = {}, empty, drawn = () => undefined }: PlotsOptions
  ) {
    super();
    this.addClass('jp-lb-Plots');
    this.renderer = new Renderer(bench.series(run, { system }), options, '', {
      words: {
        __: (text, ...given) => trans.__(text, ...given),
        _n: (one, many, count, ...given) => trans._n(one, many, count, ...given)
      },
      columns: 6,
      silent: trans.__('not connected'),
      empty,
      drawn,
      actions: name => [this.actions(bench, name, system, trans)]
    });
    this.node.append(this.renderer.root);
  }

  /** Downloads of one panel; the system's metrics have no table of their own on the server. */
  private actions(bench: IBench, name: string, system: boolean, trans: TranslationBundle): HTMLElement {
    const place = document.createElement('span');
    place.className = 'lb-action';
    const picture = document.createElement('button');
    Object.assign(picture, {
      type: 'button',
      textContent: 'PNG',
      title: trans.__('download this plot as a picture'),
      onclick: () => this.savePicture(name)
    });
    picture.setAttribute('aria-label', trans.__('download %1 as PNG', name));
    place.append(picture);
    if (system) return place;
    const link = document.createElement('a');
    Object.assign(link, {
      href: bench.metricsUrl(this.run, [name]),
      download: fileName(this.run, `${name}.csv`),
      textContent: 'CSV',
      title: trans.__('download the points of this metric')
    });
    link.setAttribute('aria-label', trans.__('download %1 as CSV', name));
    place.prepend(link);
    return place;
  }

  /** One plot, or all that are shown. */
  savePicture(name?: string): void {
    this.renderer.save(`${fileName(this.run, ...(name ? [name] : []))}.png`, name);
  }

  end(over: boolean): void {
    this.renderer.end(over);
  }

  again(): void {
    this.renderer.again();
  }

  /** The server is gone: what is shown is not live. */
  silence(): void {
    this.renderer.silence();
  }

  protected onAfterAttach(_: Message): void {
    this.renderer.moved();
  }

  protected onAfterShow(_: Message): void {
    this.renderer.moved();
  }

  dispose(): void {
    if (this.isDisposed) return;
    this.renderer.destroy();
    super.dispose();
  }
}
