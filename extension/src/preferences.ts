/** What a person has set, with what holds where nothing is. */
import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import { Signal, type ISignal } from '@lumino/signaling';
import type { IPreferences } from './tokens';

const DEFAULTS = { count: 1, confirm: true, span: 5, pauseAfter: 60 };

export class Preferences implements IPreferences {
  private readonly _changed = new Signal<this, void>(this);
  private values = DEFAULTS;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get count(): number {
    return this.values.count;
  }

  get confirm(): boolean {
    return this.values.confirm;
  }

  get span(): number {
    return this.values.span;
  }

  get pauseAfter(): number {
    return this.values.pauseAfter;
  }

  /** Follow JupyterLab's settings. */
  follow(settings: ISettingRegistry.ISettings): void {
    const read = (): void => {
      this.values = { ...DEFAULTS, ...(settings.composite as Partial<typeof DEFAULTS>) };
      this._changed.emit();
    };
    settings.changed.connect(read);
    read();
  }
}
