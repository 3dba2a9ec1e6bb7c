/** A window into a log of any size: blocks of whole lines, each of which knows its place in the file. */
import { settled } from './logtext';

const MOST = 8_000_000; // characters kept; a log may have gigabytes
const BLOCK = 200_000; // bytes that are kept or dropped together

interface Block {
  begin: number; // bytes
  end: number;
  lines: string[];
  sizes: number[]; // bytes of each line in the file
  characters: number;
}

export interface Part {
  begin: number;
  end: number;
  text: string;
}

export class LogBuffer {
  private blocks: Block[] = [];
  private rest = ''; // of the last line, which has no end yet
  private restBytes = 0;
  atEnd = true; // what is written next belongs here
  size = 0; // of the whole log, as far as is known

  get begin(): number {
    return this.blocks[0]?.begin ?? 0;
  }

  get end(): number {
    return (this.blocks[this.blocks.length - 1]?.end ?? 0) + this.restBytes;
  }

  get length(): number {
    return this.blocks.reduce((n, b) => n + b.lines.length, 0) + (this.rest ? 1 : 0);
  }

  /** Lines from one index to another. */
  slice(from: number, to: number): string[] {
    const found: string[] = [];
    let first = 0;
    for (const { lines } of this.blocks) {
      if (first + lines.length > from && first < to) found.push(...lines.slice(Math.max(0, from - first), to - first));
      first += lines.length;
    }
    if (this.rest && from <= first && to > first) found.push(settled(this.rest));
    return found;
  }

  /** Only this part. */
  reset(part: Part, atEnd: boolean): void {
    this.blocks = [];
    [this.rest, this.restBytes, this.atEnd] = ['', 0, atEnd];
    this.blocks.push({ begin: part.begin, end: part.begin, lines: [], sizes: [], characters: 0 });
    this.write(part.text, part.end);
  }

  /** What was written since; how many lines at the beginning were dropped for it, if that may be. */
  append(part: Part, trim: boolean): number {
    this.size = Math.max(this.size, part.end);
    if (!this.atEnd) return 0;
    if (!this.blocks.length || part.begin !== this.end) this.reset(part, true);
    else this.write(part.text, part.end);
    return this.trim(trim); // who reads further up keeps that, and loses the end
  }

  /** The last part of the log goes on where this window ends, or stands for itself. */
  join(part: Part): void {
    if (part.begin > this.end || part.end < this.end) return this.reset(part, true);
    const known = this.end - part.begin;
    this.atEnd = true;
    this.write(decoder.decode(encoder.encode(part.text).subarray(known)), part.end);
  }

  private write(text: string, end: number): void {
    const lines = (this.rest + text).split('\n'),
      last = lines.pop()!;
    const ascii = /^[\x00-\x7f]*$/.test(text) && /^[\x00-\x7f]*$/.test(this.rest);
    const bytes = (line: string): number => (ascii ? line.length : encoder.encode(line).length);
    const sizes = lines.map(line => bytes(line) + 1);
    const hidden = this.restBytes - bytes(this.rest); // of the first line, overwritten before its end came
    if (sizes.length) sizes[0] += hidden;
    const restBytes = bytes(last) + (sizes.length ? 0 : hidden);
    let block = this.blocks[this.blocks.length - 1];
    if (block.end - block.begin > BLOCK)
      this.blocks.push((block = { begin: block.end, end: block.end, lines: [], sizes: [], characters: 0 }));
    const shown = lines.map(settled);
    for (const line of shown) block.lines.push(line);
    for (const size of sizes) block.sizes.push(size);
    block.characters += shown.reduce((n, line) => n + line.length + 20, 0);
    block.end = end - restBytes;
    this.rest = last.slice(last.lastIndexOf('\r', last.length - 2) + 1);
    this.restBytes = restBytes;
    this.size = Math.max(this.size, end);
  }

  /** Lines that stand before; how many there are. The end is dropped when it becomes too much. */
  prepend(part: Part): number {
    if (part.end !== this.begin || !part.text) return 0;
    const lines = part.text.split('\n');
    if (lines[lines.length - 1] === '') lines.pop();
    const shown = lines.map(settled);
    this.blocks.unshift({
      begin: part.begin,
      end: part.end,
      lines: shown,
      sizes: lines.map(l => encoder.encode(l).length + 1),
      characters: part.text.length
    });
    this.trim(false);
    return shown.length;
  }

  /** Lines that stand behind, when the end was dropped; how many lines at the beginning were dropped for it. */
  extend(part: Part, size: number): number {
    this.size = Math.max(this.size, size);
    if (part.begin !== this.end || part.end <= part.begin) return 0;
    this.blocks.push({ begin: part.begin, end: part.begin, lines: [], sizes: [], characters: 0 });
    this.write(part.text, part.end);
    return this.trim(true);
  }

  private trim(first: boolean): number {
    let dropped = 0,
      size = this.blocks.reduce((n, b) => n + b.characters, 0);
    while (size > MOST && this.blocks.length > 1) {
      const block = first ? this.blocks.shift()! : this.blocks.pop()!;
      size -= block.characters;
      dropped += block.lines.length;
      if (!first) [this.rest, this.restBytes, this.atEnd] = ['', 0, false];
    }
    return first ? dropped : 0;
  }

  has(byte: number): boolean {
    return byte >= this.begin && byte < this.end;
  }

  /** The index of the line that holds a byte. */
  lineAt(byte: number): number {
    let index = 0;
    for (const block of this.blocks) {
      if (byte < block.end) {
        let at = block.begin;
        for (const size of block.sizes) {
          if (byte < at + size) return index;
          at += size;
          index++;
        }
        return Math.max(0, index - 1);
      }
      index += block.lines.length;
    }
    return Math.max(0, this.length - 1);
  }

  text(): string {
    return this.slice(0, this.length).join('\n');
  }
}

const encoder = new TextEncoder(),
  decoder = new TextDecoder();
