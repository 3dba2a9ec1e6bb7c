/** The other side of the socket, moved by hand. */
import type { Network } from '../src/model';

export class FakeSocket {
  sent: Record<string, unknown>[] = [];
  closed = false;
  binaryType = '';
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: string | ArrayBuffer }) => void) | null = null;

  send(text: string): void {
    this.sent.push(JSON.parse(text) as Record<string, unknown>);
  }

  close(): void {
    this.closed = true;
  }

  opened(): this {
    this.onopen?.();
    return this;
  }

  /** The server or the network ends it. */
  broken(): void {
    this.onclose?.();
  }

  say(message: object | string | ArrayBuffer): void {
    this.onmessage?.({
      data: typeof message === 'string' || message instanceof ArrayBuffer ? message : JSON.stringify(message)
    });
  }

  of(op: string): Record<string, unknown>[] {
    return this.sent.filter(m => m.op === op);
  }
}

export class FakeNetwork {
  sockets: FakeSocket[] = [];
  requests: { method: string; path: string; body?: object }[] = [];
  answer: (method: string, path: string) => unknown = () => null;

  get last(): FakeSocket {
    return this.sockets[this.sockets.length - 1];
  }

  openSocket = (): WebSocket => {
    this.sockets.push(new FakeSocket());
    return this.last as unknown as WebSocket;
  };

  send = async <T>(method: string, path: string, body?: object): Promise<T> => {
    this.requests.push({ method, path, body });
    return this.answer(method, path) as T;
  };

  request = async <T>(path: string): Promise<T> => this.send('GET', path);

  get network(): Network {
    return this as unknown as Network;
  }
}

/** A binary frame as the server packs it. */
export function frame(id: number, reply: object, ...buffers: Float64Array[]): ArrayBuffer {
  let head = JSON.stringify({ id, sizes: buffers.map(b => b.byteLength), reply });
  while ((4 + head.length) % 8) head += ' ';
  const data = new ArrayBuffer(4 + head.length + buffers.reduce((n, b) => n + b.byteLength, 0));
  new DataView(data).setUint32(0, head.length, true);
  new Uint8Array(data, 4).set(new TextEncoder().encode(head));
  let at = 4 + head.length;
  for (const buffer of buffers) {
    new Float64Array(data, at, buffer.length).set(buffer);
    at += buffer.byteLength;
  }
  return data;
}
