/** The toolbar item: this notebook's devices in a few words, and a menu of what can be done with them. */
import { ReactWidget } from '@jupyterlab/apputils';
import type { NotebookPanel } from '@jupyterlab/notebook';
import { MenuSvg, ToolbarButtonComponent, addToolbarButtonClass } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import type { Menu } from '@lumino/widgets';
import { Bystander } from './bystander';
import { devicesIcon } from '../shared/icons';
import { menuItems } from './menu';
import { sayState, type Said } from './state';
import type { IBench } from '../tokens';

export class DevicesItem extends ReactWidget {
  private readonly watch: Bystander;
  readonly seen = new Set<string>(); // allocations that this notebook has held while the page was open
  private menu: Menu | null = null;
  private last = '';

  constructor(
    private readonly panel: NotebookPanel,
    bench: IBench,
    private readonly commands: CommandRegistry,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-lb-nb-DevicesItem');
    addToolbarButtonClass(this);
    this.watch = new Bystander(bench, panel.sessionContext, this.seen);
    this.watch.changed.connect(this.look, this);
  }

  /** Draw again only if there is something new to see: progress comes several times a second. */
  private look(): void {
    const said = JSON.stringify(this.said());
    if (said === this.last) return;
    this.last = said;
    this.update();
  }

  private said(): Said {
    const { bench } = this.watch;
    if (!bench.connected && (bench.problem || !this.watch.ready)) {
      return { mood: 'offline', text: this.trans.__('devices'), title: bench.problem || this.trans.__('Connecting…') };
    }
    return sayState(this.watch.state, this.watch.runs, this.trans);
  }

  render(): JSX.Element {
    const { mood, text, title } = this.said();
    return (
      <ToolbarButtonComponent
        icon={devicesIcon}
        className={`jp-lb-nb-devices jp-lb-nb-mod-${mood}`}
        label={text}
        tooltip={title}
        aria-haspopup="menu"
        aria-expanded={this.menu !== null}
        onClick={() => this.open()}
      />
    );
  }

  /** The menu, below the button; a second click closes it. */
  open(): void {
    if (this.menu) return;
    const { commands, watch, panel, trans } = this;
    const menu = new MenuSvg({ commands });
    menu.addClass('jp-lb-nb-devices-menu');
    for (const item of menuItems(watch, panel.id, commands, trans)) menu.addItem(item);
    const button = this.node.querySelector<HTMLElement>('.jp-ToolbarButtonComponent') ?? this.node;
    // a narrow toolbar has put it away
    const { left, bottom } = (button.offsetParent ? button : panel.toolbar.node).getBoundingClientRect();
    menu.aboutToClose.connect(() => {
      this.menu = null;
      this.update();
      setTimeout(() => menu.dispose()); // after the command that was chosen
      if (!panel.isDisposed && (document.activeElement === document.body || menu.node.contains(document.activeElement)))
        button.focus();
    });
    this.menu = menu;
    menu.open(left, bottom);
    this.update();
  }

  dispose(): void {
    if (this.isDisposed) return;
    this.watch.changed.disconnect(this.look, this);
    this.watch.dispose();
    this.menu?.dispose();
    super.dispose();
  }
}
