/** Run Headless: a notebook without a page, once or over many parameters. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { DOMAIN, IBench } from '../tokens';
import { addHeadlessCommand } from './commands';

export const headlessPlugin: JupyterFrontEndPlugin<void> = {
  id: 'lepton-bench:headless',
  description: 'The Run Headless dialog.',
  autoStart: true,
  requires: [IBench, INotebookTracker],
  optional: [ITranslator],
  activate: (app: JupyterFrontEnd, bench: IBench, tracker: INotebookTracker, translator: ITranslator | null): void =>
    addHeadlessCommand({ app, bench, tracker, trans: (translator ?? nullTranslator).load(DOMAIN) })
};
