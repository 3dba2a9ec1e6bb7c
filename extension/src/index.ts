import { commandsPlugin } from './commands';
import { dashboardPlugin } from './dashboard/plugin';
import { displaysPlugin } from './displays/plugin';
import { notebookPlugin } from './notebook/plugin';
import { modelPlugin, preferencesPlugin } from './plugin';
import { sidebarPlugin } from './sidebar/plugin';
import { statusbarPlugin } from './statusbar/plugin';

export default [preferencesPlugin, modelPlugin, commandsPlugin, sidebarPlugin, statusbarPlugin, dashboardPlugin, notebookPlugin, displaysPlugin];
