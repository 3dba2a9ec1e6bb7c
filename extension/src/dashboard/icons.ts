/** A run's state at one look: shape and colour, never colour alone. */
import { LabIcon } from '@jupyterlab/ui-components';
import type { Status } from '../tokens';

const draw = (name: string, color: string, inside: string): LabIcon =>
  new LabIcon({
    name: `lepton-bench:${name}`,
    svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 16 16"><g style="fill:none;stroke:var(${color});stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round">${inside}</g></svg>`
  });

const unclear = draw('run-unclear', '--jp-warn-color1', '<circle cx="8" cy="8" r="6"/><path d="M8 4.8v4M8 11.2v.1"/>');
const ICONS: Record<Status, LabIcon> = {
  waiting: draw('run-waiting', '--jp-ui-font-color2', '<circle cx="8" cy="8" r="6"/><path d="M8 4.5V8l2.5 1.5"/>'),
  running: draw(
    'run-running',
    '--jp-brand-color1',
    '<circle cx="8" cy="8" r="6"/><path d="M6.6 5.4 10.4 8l-3.8 2.6z" style="fill:var(--jp-brand-color1);stroke-width:1"/>'
  ),
  done: draw('run-done', '--jp-success-color1', '<circle cx="8" cy="8" r="6"/><path d="m5.2 8.2 2 2 3.6-4"/>'),
  failed: draw(
    'run-failed',
    '--jp-error-color1',
    '<circle cx="8" cy="8" r="6"/><path d="m5.8 5.8 4.4 4.4m0-4.4-4.4 4.4"/>'
  ),
  stopped: draw(
    'run-stopped',
    '--jp-ui-font-color2',
    '<circle cx="8" cy="8" r="6"/><path d="M6 6h4v4H6z" style="fill:var(--jp-ui-font-color2);stroke-width:.8"/>'
  ),
  stalled: unclear,
  lost: unclear,
  damaged: unclear
};

export const runIcon = draw('run', '--jp-ui-font-color2', '<path d="M2.5 2.5v11h11M4.5 10l3-3.5 2.5 2 3.5-5"/>');

export function statusIcon(status: Status | undefined): LabIcon {
  return (status && ICONS[status]) || runIcon;
}
