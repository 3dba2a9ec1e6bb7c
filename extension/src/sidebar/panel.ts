/** The sidebar: three sections under one icon. */
import { ReactWidget, SidePanel, Toolbar } from '@jupyterlab/ui-components';
import type { ITranslator } from '@jupyterlab/translation';
import { Signal, type ISignal } from '@lumino/signaling';
import type { AccordionPanel } from '@lumino/widgets';
import { createElement } from 'react';
import { CommandIDs } from '../tokens';
import { Allocations } from './allocations';
import type { Bench } from './context';
import { Devices } from './devices';
import { benchIcon } from './icons';
import { TitleCommand, Trouble } from './pieces';
import { Runs } from './runs';
import { Section } from './section';

/** What is kept over a reload. */
export interface Layout {
  collapsed: boolean[];
  sizes: number[];
  table: boolean;
}

export class BenchSidebar extends SidePanel {
  private readonly devices: Section<{ table: boolean }>;
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
    this.devices = new Section<{ table: boolean }>(tools, Devices, { table: false }, bar(CommandIDs.devicesTable, trans.__('Devices toolbar')));
    const sections: [Section<any>, string][] = [[this.devices, trans.__('Devices')],
      [new Section(tools, Allocations, {}, bar(CommandIDs.allocate, trans.__('Allocations toolbar'))), trans.__('Allocations')], [new Section(tools, Runs, {}), trans.__('Runs')]];
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

  /** Open a section: 0 devices, 1 allocations, 2 runs. */
  expand(index: number): void {
    this.accordion.expand(index);
  }

  save(): Layout {
    return { collapsed: this.widgets.map(w => w.isHidden), sizes: this.accordion.relativeSizes(), table: this.asTable };
  }

  load({ collapsed, sizes, table }: Layout): void {
    collapsed.forEach((hidden, i) => (hidden ? this.accordion.collapse(i) : this.accordion.expand(i)));
    if (sizes.length === this.widgets.length) this.accordion.setRelativeSizes(sizes);
    this.table = table;
  }
}
