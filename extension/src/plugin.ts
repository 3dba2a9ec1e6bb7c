/** What all parts share, once per page: the settings and the model. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { BenchModel } from './model';
import { Preferences } from './preferences';
import { IBench, IPreferences } from './tokens';
import { followVisibility } from './visibility';

export const preferencesPlugin: JupyterFrontEndPlugin<IPreferences> = {
  id: 'lepton-bench:plugin', // the name of the schema, which has the menus too
  description: 'Settings of lepton_bench.',
  autoStart: true,
  optional: [ISettingRegistry],
  provides: IPreferences,
  activate: (_: JupyterFrontEnd, registry: ISettingRegistry | null): IPreferences => {
    const preferences = new Preferences();
    registry?.load(preferencesPlugin.id).then(
      settings => preferences.follow(settings),
      error => console.warn('lepton_bench: no settings', error)
    );
    return preferences;
  }
};

export const modelPlugin: JupyterFrontEndPlugin<IBench> = {
  id: 'lepton-bench:model',
  description: 'Devices, allocations and runs of lepton_bench.',
  autoStart: true,
  requires: [IPreferences],
  provides: IBench,
  activate: (_: JupyterFrontEnd, preferences: IPreferences): IBench => {
    const model = new BenchModel();
    window.addEventListener('online', () => model.retry());
    followVisibility(document, model, () => preferences.pauseAfter);
    return model;
  }
};
