/** JupyterLab's dialog, which the second click of a double click does not close again. */
import { Dialog } from '@jupyterlab/apputils';

export class SteadyDialog<T> extends Dialog<T> {
  handleEvent(event: Event): void {
    const content = this.node.querySelector('.jp-Dialog-content');
    if (
      ['mousedown', 'click'].includes(event.type) &&
      (event as MouseEvent).detail > 1 &&
      !content?.contains(event.target as Node)
    ) {
      event.stopPropagation();
      event.preventDefault();
    } else super.handleEvent(event);
  }
}
