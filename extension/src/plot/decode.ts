/** From the kernel's buffers to columns of numbers. */
import type { PartHead, SeriesReply } from './messages';

export interface Part extends PartHead {
  x: Float64Array;
  y: Float64Array[];
}

export interface Panel {
  name: string;
  parts: Part[];
}

/** Little-endian doubles as an array: a view where the memory allows it, a copy where it begins between two doubles. */
export function toDoubles(buffer: DataView | ArrayBuffer | Uint8Array): Float64Array {
  const view =
    buffer instanceof ArrayBuffer
      ? new DataView(buffer)
      : new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  const length = Math.floor(view.byteLength / 8);
  if (littleEndian && view.byteOffset % 8 === 0)
    return new Float64Array(view.buffer as ArrayBuffer, view.byteOffset, length);
  const copy = new Float64Array(length);
  for (let i = 0; i < length; i++) copy[i] = view.getFloat64(8 * i, true);
  return copy;
}

const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** The panels of an answer; an error when buffers and words do not fit together. */
export function decodePanels(reply: SeriesReply, buffers: (DataView | ArrayBuffer | Uint8Array)[]): Panel[] {
  let next = 0;
  const take = (): Float64Array => {
    if (next >= buffers.length) throw new Error(`buffers of the answer: ${buffers.length}, it speaks of more`);
    return toDoubles(buffers[next++]);
  };
  const panels = reply.panels.map(({ name, parts }) => ({
    name,
    parts: parts.map(head => {
      const x = take();
      const y = Array.from({ length: head.columns }, take);
      if (y.some(column => column.length !== x.length)) throw new Error(`${name}: columns of different length`);
      return { ...head, x, y };
    })
  }));
  if (next !== buffers.length) throw new Error(`buffers of the answer: ${buffers.length}, it speaks of ${next}`);
  return panels;
}
