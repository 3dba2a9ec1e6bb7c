/** The icon of lepton_bench: a bench of devices with pins. */
import { LabIcon } from '@jupyterlab/ui-components';

export const benchIcon = new LabIcon({
  name: 'lepton-bench:bench',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path fill-rule="evenodd" d="M7 5h10a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H7a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2zm0 2v10h10V7z"/>
    <path d="M8.500 13h2v2.500h-2zM11.500 10.500h2v5h-2zM14.500 8.500h1.500v7h-1.500z"/>
    <path d="M8 2h2v3H8zM14 2h2v3h-2zM8 19h2v3H8zM14 19h2v3h-2zM2 8h3v2H2zM2 14h3v2H2zM19 8h3v2h-3zM19 14h3v2h-3z"/>
  </g>
</svg>`
});

/** Give back: an arrow out of a box. */
export const releaseIcon = new LabIcon({
  name: 'lepton-bench:release',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <path class="jp-icon3" fill="#616161" d="M12 3l6 6h-4v6h-4V9H6zM4 17h16v3H4z"/>
</svg>`
});
