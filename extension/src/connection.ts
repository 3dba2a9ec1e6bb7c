/** One socket for the whole page: who wants what, sent again after every reconnect from where it broke off. */
import { Signal, type ISignal } from '@lumino/signaling';

const SHORTEST = 500; // milliseconds between tries
const LONGEST = 15_000;
const PING = 15_000; // a quiet socket is asked for a sign of life as often
const PATIENCE = 10_000; // and given up after as long without one

export interface Since {
  epoch: string;
  version: number;
}

/** One message about a topic; what else it carries is the topic's own. */
export interface TopicMessage extends Partial<Since> {
  topic: string;
  error?: string;
  full?: boolean;
  [other: string]: unknown;
}

interface Topic {
  takers: Set<(message: TopicMessage) => void>;
  since: Since | null;
  resume: () => Since | null; // how far whoever listens has come
}

export interface Answer {
  id: number;
  reply: unknown;
  buffers: DataView[];
}

export class Connection {
  private socket: WebSocket | null = null;
  private readonly topics = new Map<string, Topic>();
  private readonly questions = new Map<number, (answer: Answer) => void>();
  private number = 0;
  private wait = SHORTEST;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private pulse: ReturnType<typeof setTimeout> | undefined;
  private readonly _changed = new Signal<this, void>(this);
  connected = false;

  constructor(private readonly open: () => WebSocket, private readonly refused: () => void = () => undefined) {}

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Listen to a topic; what is returned ends it. The second to ask for a topic shares the first one's stream from now on. */
  subscribe(name: string, take: (message: TopicMessage) => void, resume: () => Since | null): () => void {
    const topic = this.topics.get(name) ?? { takers: new Set(), since: null, resume };
    topic.takers.add(take);
    if (!this.topics.has(name)) {
      this.topics.set(name, topic);
      this.start();
      this.post({ op: 'subscribe', topic: name, since: resume() });
    }
    return () => {
      if (!topic.takers.delete(take) || topic.takers.size || this.topics.get(name) !== topic) return;
      this.topics.delete(name);
      this.post({ op: 'unsubscribe', topic: name });
    };
  }

  /** Ask for series; an answer may never come (the socket broke): whoever asks, asks again. */
  ask(question: object, take: (answer: Answer) => void): void {
    this.start();
    if (!this.connected) return;
    const id = ++this.number;
    this.questions.set(id, take);
    this.post({ ...question, op: 'series', id });
  }

  private start(): void {
    if (this.socket || this.timer !== undefined) return;
    const socket = this.open();
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    socket.onopen = () => this.opened();
    socket.onclose = () => this.lost(socket);
    socket.onmessage = event => this.take(event.data as string | ArrayBuffer);
  }

  private opened(): void {
    this.wait = SHORTEST;
    this.connected = true;
    for (const [name, topic] of this.topics) this.post({ op: 'subscribe', topic: name, since: topic.resume() });
    this.listen();
    this._changed.emit();
  }

  private lost(socket: WebSocket): void {
    if (socket !== this.socket) return;
    const was = this.connected;
    this.socket = null;
    this.connected = false;
    this.questions.clear();
    clearTimeout(this.pulse);
    if (!was) this.refused();
    if (this.topics.size) {
      this.timer = setTimeout(() => {
        this.timer = undefined;
        if (this.topics.size) this.start();
      }, this.wait);
      this.wait = Math.min(this.wait * 2, LONGEST);
    }
    this._changed.emit();
  }

  /** Try at once: the page came back to sight, or the network did. */
  retry(): void {
    if (this.socket || !this.topics.size) return;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.wait = SHORTEST;
    this.start();
  }

  /** A cut network says nothing: a socket that does not answer is closed. */
  private listen(): void {
    clearTimeout(this.pulse);
    this.pulse = setTimeout(() => {
      this.post({ op: 'ping' });
      const socket = this.socket;
      this.pulse = setTimeout(() => {
        if (socket && socket === this.socket) {
          socket.onclose = null;
          socket.close();
          this.lost(socket);
        }
      }, PATIENCE);
    }, PING);
  }

  private take(data: string | ArrayBuffer): void {
    this.listen();
    if (typeof data !== 'string') return this.answer(data);
    const message = JSON.parse(data) as TopicMessage;
    for (const take of this.topics.get(message.topic)?.takers ?? []) take(message);
  }

  private answer(data: ArrayBuffer): void {
    const size = new DataView(data).getUint32(0, true);
    const { id, sizes, reply } = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, size))) as { id: number; sizes: number[]; reply: unknown };
    let at = 4 + size;
    const buffers = sizes.map(length => new DataView(data, (at += length) - length, length));
    const take = this.questions.get(id);
    this.questions.delete(id);
    take?.({ id, reply, buffers });
  }

  private post(message: object): void {
    if (this.connected) this.socket!.send(JSON.stringify(message));
  }

  dispose(): void {
    this.topics.clear();
    this.questions.clear();
    clearTimeout(this.timer);
    clearTimeout(this.pulse);
    if (this.socket) this.socket.onclose = null;
    this.socket?.close();
    this.socket = null;
    this.connected = false;
    Signal.clearData(this);
  }
}
