/** Icons that several panels use. */
import { LabIcon } from '@jupyterlab/ui-components';

const svg = (path: string): string =>
  `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><g class="jp-icon3" fill="#616161">${path}</g></svg>`;

/** A chip: devices. */
export const devicesIcon = new LabIcon({
  name: 'lepton-bench:notebook-devices',
  svgstr: svg(
    '<path fill-rule="evenodd" d="M9 2v3H7a2 2 0 0 0-2 2v2H2v2h3v2H2v2h3v2a2 2 0 0 0 2 2h2v3h2v-3h2v3h2v-3h2a2 2 0 0 0 2-2v-2h3v-2h-3v-2h3V9h-3V7a2 2 0 0 0-2-2h-2V2h-2v3h-2V2zM7 7h10v10H7z"/><path d="M9.5 9.5h5v5h-5z"/>'
  )
});

/** A rocket: launch. */
export const launchIcon = new LabIcon({
  name: 'lepton-bench:launch',
  svgstr: svg(
    '<path fill-rule="evenodd" d="M21 3c-5.500-.3-9.600 1.500-12.400 5.100L5 8.600 2.500 12l3.900.6 5 5 .6 3.900 3.400-2.500.5-3.600C19.500 12.600 21.300 8.500 21 3zm-6 8a2 2 0 1 1 0-4 2 2 0 0 1 0 4z"/><path d="M5.500 15.500c-1.700.8-2.500 2.900-2.500 5.500 2.600 0 4.700-.8 5.500-2.500z"/>'
  )
});

/** Four notebooks, one of which runs: headless. */
export const headlessIcon = new LabIcon({
  name: 'lepton-bench:headless',
  svgstr: svg(
    '<path fill-rule="evenodd" d="M3 3h8v8H3zm2 2v4h4V5zM13 3h8v8h-8zm2 2v4h4V5zM3 13h8v8H3zm2 2v4h4v-4z"/><path d="M14 13l8 4.500-8 4.500z"/>'
  )
});

/** lepton_bench: a bench of devices with pins. */
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
