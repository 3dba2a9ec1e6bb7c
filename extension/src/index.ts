import { commandsPlugin } from './commands';
import { dashboardPlugin } from './dashboard/plugin';
import { displaysPlugin } from './displays/plugin';
import { headlessPlugin } from './headless/plugin';
import { notebookPlugin } from './notebook/plugin';
import { modelPlugin, preferencesPlugin } from './plugin';
import { sidebarPlugin } from './sidebar/plugin';
import { statusbarPlugin } from './statusbar/plugin';

export default [
  preferencesPlugin,
  modelPlugin,
  commandsPlugin,
  sidebarPlugin,
  statusbarPlugin,
  dashboardPlugin,
  notebookPlugin,
  headlessPlugin,
  displaysPlugin
];
