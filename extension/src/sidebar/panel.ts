/** The sidebar: three sections under one icon. */
import { ReactWidget, SidePanel, Toolbar } from '@jupyterlab/ui-components';
import type { ITranslator } from '@jupyterlab/translation';
import { Signal, type ISignal } from '@lumino/signaling';
import type { AccordionPanel, Widget } from '@lumino/widgets';
import { createElement } from 'react';
import { CommandIDs } from '../tokens';
import { Allocations } from './allocations';
import type { Bench } from './context';
import { Devices } from './devices';
import { benchIcon } from '../shared/icons';
import { TitleCommand, Trouble } from './pieces';
import { Runs, type RunsProps } from './runs';
import { Section } from './section';

/** What is kept over a reload. */
export interface Layout {
  collapsed: boolean[];
  sizes: number[];
  table: boolean;
  opened?: [string, boolean][]; // runs with others below them, the last that was touched at the end
}

const MOST = 300; // of those

export class BenchSidebar extends SidePanel {
  private readonly devices: Section<{ table: boolean }>;
  private readonly runs: Section<RunsProps>;
  private opened: ReadonlyMap<string, boolean> = new Map();
  private turn = 0;
  private readonly _layoutChanged = new Signal<this, void>(this);
  private asTable = false;

  constructor(tools: Bench, translator: ITranslator) {
    super({ translator });
    const { trans, commands } = tools;
    this.id = 'lepton-bench-sidebar';
    this.addClass('jp-lb-sidebar');
    this.title.icon = benchIcon;
    this.title.caption = trans.__('Bench: devices, allocations, runs');
    this.node.setAttribute('aria-label', trans.__('Bench'));
    this.header.addWidget(new Section(tools, Trouble, {}));
    const bar = (id: string, name: string): Toolbar => {
      const toolbar = new Toolbar();
      toolbar.node.setAttribute('aria-label', name);
      toolbar.addItem(id, ReactWidget.create(createElement(TitleCommand, { commands, id })));
      return toolbar;
    };
    this.devices = new Section<{ table: boolean }>(
      tools,
      Devices,
      { table: false },
      bar(CommandIDs.devicesTable, trans.__('Devices toolbar'))
    );
    this.runs = new Section<RunsProps>(tools, Runs, {
      opened: this.opened,
      wish: null,
      onToggle: (run, open) => this.toggle(run, open)
    });
    const sections: [Widget, string][] = [
      [this.devices, trans.__('Devices')],
      [
        new Section(tools, Allocations, {}, bar(CommandIDs.allocate, trans.__('Allocations toolbar'))),
        trans.__('Allocations')
      ],
      [this.runs, trans.__('Runs')]
    ];
    for (const [section, name] of sections) {
      section.title.label = name;
      this.addWidget(section);
    }
    const { expansionToggled, handleMoved } = this.accordion;
    expansionToggled.connect(() => this._layoutChanged.emit());
    handleMoved.connect(() => this._layoutChanged.emit());
  }

  private get accordion(): AccordionPanel {
    return this.content as AccordionPanel;
  }

  get layoutChanged(): ISignal<this, void> {
    return this._layoutChanged;
  }

  get table(): boolean {
    return this.asTable;
  }

  set table(table: boolean) {
    this.asTable = table;
    this.devices.set({ table });
    this._layoutChanged.emit();
  }

  private toggle(run: string, open: boolean): void {
    const others = [...this.opened].filter(([id]) => id !== run).slice(1 - MOST);
    this.opened = new Map([...others, [run, open]]);
    this.runs.set({ opened: this.opened });
    this._layoutChanged.emit();
  }

  /** Bring a run to sight, once it is in the list. */
  reveal(run: string): void {
    this.expand(2);
    this.runs.set({ wish: { run, turn: ++this.turn } });
  }

  /** Open a section: 0 devices, 1 allocations, 2 runs. */
  expand(index: number): void {
    this.accordion.expand(index);
  }

  save(): Layout {
    return {
      collapsed: this.widgets.map(w => w.isHidden),
      sizes: this.accordion.relativeSizes(),
      table: this.asTable,
      opened: [...this.opened]
    };
  }

  load({ collapsed, sizes, table, opened = [] }: Layout): void {
    this.opened = new Map(opened);
    this.runs.set({ opened: this.opened });
    collapsed.forEach((hidden, i) => (hidden ? this.accordion.collapse(i) : this.accordion.expand(i)));
    if (sizes.length === this.widgets.length) this.accordion.setRelativeSizes(sizes);
    this.table = table;
  }
}
