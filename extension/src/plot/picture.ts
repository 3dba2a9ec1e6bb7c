/** Panels as one PNG, with their names and legends. */
import type { Colors } from './colors';
import type { PanelView } from './panel';

const GAP = 16,
  HEAD = 20,
  FOOT = 18; // pixels

/** The canvas of one picture; null when nothing is drawn yet. */
export function drawPicture(
  views: PanelView[],
  columns: number,
  colors: Colors,
  ground: string,
  ratio = devicePixelRatio || 1
): HTMLCanvasElement | null {
  const drawn = views.filter(v => v.canvas?.width);
  if (!drawn.length) return null;
  const width = drawn[0].canvas!.width / ratio,
    height = HEAD + drawn[0].canvas!.height / ratio + FOOT;
  const across = Math.min(columns, drawn.length),
    down = Math.ceil(drawn.length / across);
  const picture = document.createElement('canvas');
  picture.width = ratio * (GAP + across * (width + GAP));
  picture.height = ratio * (GAP + down * (height + GAP));
  const context = picture.getContext('2d')!;
  context.scale(ratio, ratio);
  context.fillStyle = ground;
  context.fillRect(0, 0, picture.width, picture.height);
  drawn.forEach((view, k) => {
    const left = GAP + (k % across) * (width + GAP),
      top = GAP + Math.floor(k / across) * (height + GAP);
    context.fillStyle = colors.text;
    context.font = 'bold 13px sans-serif';
    context.fillText(view.name, left + 8, top + 13, width - 8);
    context.drawImage(view.canvas!, left, top + HEAD, width, height - HEAD - FOOT);
    drawLegend(context, view, left + 52, top + height - 5, left + width, colors);
  });
  return picture;
}

function drawLegend(
  context: CanvasRenderingContext2D,
  view: PanelView,
  x: number,
  y: number,
  end: number,
  colors: Colors
): void {
  context.font = '11px sans-serif';
  for (const { text, color } of view.legends) {
    const size = context.measureText(text).width + 28;
    if (x + size > end) return;
    context.fillStyle = color;
    context.fillRect(x, y - 5, 12, 3);
    context.fillStyle = colors.faint;
    context.fillText(text, x + 16, y);
    x += size;
  }
}

/** Hand a file to the browser. */
export function download(url: string, name: string): void {
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
}
