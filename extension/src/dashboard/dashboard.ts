/** One run in the main area: its state above, and pages of plots, logs and facts. */
import { MainAreaWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { codeIcon, downloadIcon, Toolbar } from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import { Panel, TabBar, Widget } from '@lumino/widgets';
import { download } from '../plot/picture';
import {
  CommandIDs,
  type AllocationRow,
  type IBench,
  type ITable,
  type RequestRow,
  type RunDetail,
  type RunRow
} from '../tokens';
import { AboutPage } from './about';
import { CheckpointsPage } from './checkpoints';
import { DevicesPage } from './devices';
import { statusIcon } from './icons';
import { LogsPage } from './logs';
import { PlotsPage } from './plots';
import { RanksPage } from './ranks';
import { SetsPage } from './setspage';
import { isHeadless, runs, statusText } from '../shared/runs';
import { fileName, isOver, requestOf, requestText, waitingText } from './texts';
import { action, attempt, OutputItem, ResumeItem, StatusItem, StopItem } from './toolbar';

const GRACE = 1500; // milliseconds for which a lost connection is not spoken of

export class RunDashboard extends MainAreaWidget<Panel> {
  readonly run: string;
  readonly bar = new TabBar<Widget>();
  private readonly banner = new Widget();
  private readonly pages = new Panel();
  private readonly plots: PlotsPage;
  private readonly logs: LogsPage;
  private readonly about: AboutPage;
  private readonly checkpoints: CheckpointsPage;
  private readonly devices: DevicesPage;
  private readonly ranks: RanksPage;
  private readonly sets: SetsPage;
  private readonly outputItem: OutputItem;
  private wanted: number | null = null; // the page, as long as nobody knows what kind of run it is
  private readonly status: StatusItem;
  private readonly stopItem: StopItem;
  private readonly resumeItem: ResumeItem;
  private readonly release: Widget;
  private png!: Widget;
  private readonly table: ITable<RunDetail>;
  private rows: ITable<RunRow> | null = null; // for progress, while it goes on
  private readonly allocations: ITable<AllocationRow>;
  private readonly requests: ITable<RequestRow>;
  private detail: RunDetail | null = null;
  private connected: boolean; // so it was when it was last looked at
  private gone = false; // the server, for longer than a moment
  private timer: ReturnType<typeof setTimeout> | undefined;
  private tabs = 0;

  constructor(
    private readonly bench: IBench,
    run: string,
    private readonly commands: CommandRegistry,
    private readonly trans: TranslationBundle,
    drawn?: () => void
  ) {
    super({ content: new Panel() });
    this.run = run;
    this.id = `lepton-bench-run-${run}`;
    this.addClass('jp-lb-Dashboard');
    this.title.closable = true;
    this.title.label = run;
    this.title.icon = statusIcon(undefined);
    const empty = trans.__(
      'No metrics: lb.log(step=i, loss=loss) in the launched function or notebook draws curves here.'
    );
    this.plots = new PlotsPage(bench, run, trans, { empty, drawn });
    this.logs = new LogsPage(bench, run, trans);
    this.about = new AboutPage(bench, run, trans);
    this.checkpoints = new CheckpointsPage(trans);
    this.devices = new DevicesPage(bench, run, trans);
    this.ranks = new RanksPage(bench, trans);
    this.sets = new SetsPage(bench, commands, trans);
    this.outputItem = new OutputItem(commands, trans);
    this.status = new StatusItem(trans);
    this.stopItem = new StopItem(bench, commands, trans);
    this.resumeItem = new ResumeItem(commands, trans);
    this.release = action({
      label: trans.__('Release'),
      tooltip: trans.__('give the devices of its allocation back'),
      onClick: () => void this.giveBack()
    });
    this.fillToolbar();
    this.fillContent();
    this.table = bench.run(run);
    this.allocations = bench.allocations();
    this.requests = bench.requests();
    this.table.changed.connect(this.changed, this);
    this.allocations.changed.connect(this.say, this);
    this.requests.changed.connect(this.say, this);
    bench.connectionChanged.connect(this.connection, this);
    this.connected = bench.connected;
    this.timer = setTimeout(() => this.lost(), 2 * GRACE); // a server that never answers
    this.changed();
  }

  private fillToolbar(): void {
    const { toolbar, trans } = this;
    toolbar.node.setAttribute('aria-label', trans.__('run'));
    toolbar.addItem('status', this.status);
    toolbar.addItem('spacer', Toolbar.createSpacerItem());
    toolbar.addItem('output', this.outputItem);
    toolbar.addItem('stop', this.stopItem);
    toolbar.addItem('resume', this.resumeItem);
    toolbar.addItem('release', this.release);
    toolbar.addItem(
      'source',
      action({
        icon: codeIcon,
        label: trans.__('Source'),
        tooltip: trans.__('the code and arguments of this run'),
        onClick: () => this.showSource()
      })
    );
    toolbar.addItem(
      'csv',
      action({
        icon: downloadIcon,
        label: 'CSV',
        tooltip: trans.__('download all points'),
        onClick: () => void this.saveCsv()
      })
    );
    toolbar.addItem(
      'png',
      (this.png = action({
        icon: downloadIcon,
        label: 'PNG',
        tooltip: trans.__('download the plots that are shown, as one picture'),
        onClick: () => this.savePicture()
      }))
    );
    this.release.hide();
  }

  private fillContent(): void {
    const { trans, bar, pages } = this;
    this.content.addClass('jp-lb-Dashboard-content');
    this.banner.addClass('jp-lb-Banner');
    this.banner.node.setAttribute('role', 'status');
    this.banner.hide();
    bar.addClass('jp-lb-Tabs');
    bar.name = trans.__('parts of the run');
    bar.tabsMovable = false;
    bar.currentChanged.connect(() => this.showPage());
    pages.addClass('jp-lb-Pages');
    this.content.addWidget(this.banner);
    this.content.addWidget(bar);
    this.content.addWidget(pages);
    const all: [Widget, string][] = [
      [this.plots, trans.__('Plots')],
      [this.logs, trans.__('Logs')],
      [this.about, trans.__('About')],
      [this.checkpoints, trans.__('Checkpoints')],
      [this.devices, trans.__('Devices')],
      [this.ranks, trans.__('Ranks')]
    ];
    for (const [page, label] of all) this.addPage(page, label);
    bar.currentIndex = 0;
    this.showPage();
  }

  private addPage(page: Widget, label: string, index = this.bar.titles.length): void {
    page.title.label = label;
    page.title.className = `jp-lb-Tab-${++this.tabs}`;
    page.addClass('jp-lb-Page');
    page.node.setAttribute('role', 'tabpanel');
    page.node.setAttribute('aria-label', label);
    page.hide();
    this.bar.insertTab(index, page.title);
    this.pages.addWidget(page);
  }

  private showPage(): void {
    const current = this.bar.currentTitle?.owner;
    for (const page of this.pages.widgets) page.setHidden(page !== current);
  }

  /** Which page is shown; settable, so that a layout can come back as it was. */
  get page(): number {
    return this.bar.currentIndex;
  }

  set page(index: number) {
    if (!this.detail) this.wanted = index;
    this.bar.currentIndex = index >= 0 && index < this.bar.titles.length ? index : 0;
  }

  /** The pages that fit the kind of run: once it is known. */
  private arrange(run: RunDetail): void {
    const { kind } = run,
      wanted = this.wanted;
    if (isHeadless(run)) this.bar.removeTab(this.ranks.title);
    if (kind === 'sweep') {
      for (const page of [this.plots, this.checkpoints, this.devices, this.ranks]) this.bar.removeTab(page.title);
      this.addPage(this.sets, this.trans.__('Sets'), 0);
      this.png.hide();
      this.page = wanted ?? 0;
      this.showPage();
      // most log no metrics
    } else if (kind === 'notebook' && wanted === null) this.page = this.bar.titles.indexOf(this.logs.title);
  }

  private async saveCsv(): Promise<void> {
    if (this.detail?.kind !== 'sweep')
      return download(this.bench.metricsUrl(this.run), fileName(this.run, 'metrics.csv'));
    const url = URL.createObjectURL(new Blob([await this.sets.csv()], { type: 'text/csv' }));
    download(url, fileName(this.run, 'sets.csv'));
    setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser has taken it by then
  }

  private showSource(): void {
    this.page = this.bar.titles.indexOf(this.about.title);
    this.about.showSource();
  }

  private savePicture(): void {
    if (this.bar.currentTitle === this.devices.title) return this.devices.plots.savePicture();
    this.page = 0;
    this.plots.savePicture();
  }

  private async giveBack(): Promise<void> {
    const allocation = this.detail?.allocation;
    if (!allocation) return;
    await attempt(
      this.commands.hasCommand(CommandIDs.release)
        ? this.commands.execute(CommandIDs.release, { allocation })
        : this.bench.release(allocation)
    );
  }

  private changed(): void {
    const found = this.table.rows.get(this.run);
    if (found) this.take(found);
    this.say();
  }

  private take(run: RunDetail): void {
    const first = !this.detail;
    this.detail = run;
    if (first) this.arrange(run);
    const { title, trans } = this,
      over = isOver(run.status);
    title.label = run.kind === 'notebook' && run.arguments ? `${run.name}: ${run.arguments}` : run.name || run.id;
    title.caption = [run.name, run.id, [statusText(run.status, trans), run.reason].filter(Boolean).join(': ')]
      .filter(Boolean)
      .join('\n');
    title.icon = statusIcon(run.status);
    this.plots.end(over);
    this.devices.plots.end(over);
    this.logs.setRanks(run.log_sizes.length || run.world_size, over);
    for (const page of [this.about, this.checkpoints, this.devices, this.ranks]) page.set(run);
    if (run.kind === 'sweep') this.sets.set(run);
    this.status.run = this.outputItem.run = run;
    this.outputItem.update();
    this.stopItem.set(run);
    this.watchRows(runs(run.status));
    this.stepped();
  }

  /** What of the row in the list of runs is shown: progress. */
  private stepped(): void {
    this.status.row = this.rows?.rows.get(this.run);
    this.status.update();
  }

  private watchRows(on: boolean): void {
    if (on && !this.rows) {
      this.rows = this.bench.runs();
      this.rows.changed.connect(this.stepped, this);
    } else if (!on) {
      this.rows?.dispose();
      this.rows = null;
    }
  }

  private connection(): void {
    clearTimeout(this.timer);
    if (this.bench.connected && !this.connected) for (const plots of [this.plots, this.devices.plots]) plots.again();
    this.connected = this.bench.connected;
    if (!this.connected) this.timer = setTimeout(() => this.lost(), this.gone ? 0 : GRACE);
    else this.gone = false;
    this.say();
  }

  private lost(): void {
    if (document.hidden) {
      this.timer = setTimeout(() => this.lost(), GRACE); // a page that nobody sees may have hung up itself
      return;
    }
    this.gone = !this.bench.connected;
    if (this.gone) for (const plots of [this.plots, this.devices.plots]) plots.silence();
    this.say();
  }

  /** One line above the pages: what stands in the way. */
  private say(): void {
    const { trans, detail, bench } = this;
    const allocation = detail?.allocation ? this.allocations.rows.get(detail.allocation) : undefined;
    // who wants to end a run says Stop
    this.release.setHidden(!detail || !isOver(detail.status) || allocation?.state !== 'idle');
    const request = detail ? requestOf(detail, this.requests.rows.values()) : undefined;
    this.resumeItem.set(detail, request);
    const missing = !!this.table.error && !detail;
    const deleted = !!detail && (!!this.table.error || !this.table.rows.has(this.run));
    this.logs.setGone(deleted);
    const text = missing
      ? trans.__(
          'There is no run %1: it may have been deleted, or belong to another home folder (LEPTON_BENCH_HOME).',
          this.run
        )
      : this.gone
        ? [
            bench.problem || trans.__('The connection to the server is interrupted.'),
            detail && trans.__('What is shown is what was known last; it goes on by itself.')
          ]
            .filter(Boolean)
            .join(' — ')
        : deleted
          ? trans.__('This run has been deleted; what is shown is what was known last.')
          : request
            ? requestText(request, trans)
            : detail
              ? waitingText(detail, allocation, trans)
              : '';
    this.toggleClass('jp-mod-missing', missing);
    this.banner.node.textContent = text;
    this.banner.toggleClass('jp-mod-problem', missing || this.gone || request?.state === 'failed');
    this.banner.setHidden(!text.trim());
  }

  dispose(): void {
    if (this.isDisposed) return;
    clearTimeout(this.timer);
    this.bench.connectionChanged.disconnect(this.connection, this);
    this.allocations.dispose();
    this.requests.dispose();
    this.table.dispose();
    this.rows?.dispose();
    if (!this.sets.isDisposed) this.sets.dispose(); // it may not be one of the pages
    super.dispose();
  }
}
