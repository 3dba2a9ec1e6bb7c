/** Lines of a terminal as lines of a page: carriage returns done, colours kept, other control codes left out. */

const LONGEST = 5000; // characters of a line that are shown
const CONTROL =
  /\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f]/g;
const COLORS = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'];

/** What a terminal would show of a line: the text after the last carriage return. */
export function settled(raw: string): string {
  const line = raw.endsWith('\r') ? raw.replace(/\r+$/, '') : raw;
  return line.slice(line.lastIndexOf('\r') + 1);
}

/** A line without any control code. */
export function plain(line: string): string {
  return line.replace(CONTROL, '');
}

export interface Piece {
  text: string;
  color: string; // '' or one of COLORS
  bold: boolean;
  found: boolean; // what is searched for
}

/** A line in pieces of one look. */
export function pieces(line: string, wanted = ''): Piece[] {
  const cut = line.length > LONGEST ? `${line.slice(0, LONGEST)} …` : line;
  const found: Piece[] = [];
  let color = '',
    bold = false,
    at = 0;
  const add = (text: string): void => {
    const clean = plain(text);
    if (clean) found.push({ text: clean, color, bold, found: false });
  };
  for (const code of cut.matchAll(/\x1b\[([0-9;]*)m/g)) {
    add(cut.slice(at, code.index));
    at = code.index + code[0].length;
    [color, bold] = look(code[1], color, bold);
  }
  add(cut.slice(at));
  return wanted ? found.flatMap(piece => marked(piece, wanted.toLowerCase())) : found;
}

/** The colour and weight after a sequence such as `1;31`. */
function look(codes: string, color: string, bold: boolean): [string, boolean] {
  const numbers = codes.split(';').map(Number);
  for (let i = 0; i < numbers.length; i++) {
    const n = numbers[i];
    if (n === 0) [color, bold] = ['', false];
    else if (n === 1) bold = true;
    else if (n === 22) bold = false;
    else if (n === 39) color = '';
    else if ((n >= 30 && n <= 37) || (n >= 90 && n <= 97)) color = COLORS[n % 10];
    else if (n === 38 || n === 48) i += numbers[i + 1] === 5 ? 2 : 4; // one of many colours: left out
  }
  return [color, bold];
}

function marked(piece: Piece, wanted: string): Piece[] {
  const lower = piece.text.toLowerCase(),
    parts: Piece[] = [];
  if (lower.length !== piece.text.length) return [piece]; // letters that change their length have no place to point at
  let at = 0;
  for (let k = lower.indexOf(wanted); k >= 0; k = lower.indexOf(wanted, at)) {
    if (k > at) parts.push({ ...piece, text: piece.text.slice(at, k) });
    parts.push({ ...piece, text: piece.text.slice(k, k + wanted.length), found: true });
    at = k + wanted.length;
  }
  if (at < piece.text.length) parts.push({ ...piece, text: piece.text.slice(at) });
  return parts;
}
