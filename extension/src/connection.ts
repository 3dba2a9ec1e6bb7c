/** One socket for the whole page: who wants what, sent again after every reconnect from where it broke off. */
import { Signal, type ISignal } from '@lumino/signaling';
import { decodeAnswer, type Answer, type Since, type TopicMessage } from './frames';

const SHORTEST = 500; // milliseconds between tries
const LONGEST = 15_000;
const PING = 15_000; // a quiet socket is asked for a sign of life as often
const PATIENCE = 10_000; // and given up after as long without one
const OPENING = 20_000; // a socket that has not opened by then never will

interface Topic {
  takers: Set<(message: TopicMessage) => void>;
  resume: () => Since | null; // how far whoever listens has come
}

interface Question {
  text: object;
  owner: object; // who has asked: of the same owner only the last question is waited for
  take: (answer: Answer) => void;
}

export class Connection {
  private socket: WebSocket | null = null;
  private readonly topics = new Map<string, Topic>();
  private readonly questions = new Map<number, Question>();
  private number = 0;
  private wait = SHORTEST;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private pulse: ReturnType<typeof setTimeout> | undefined;
  private readonly _changed = new Signal<this, void>(this);
  connected = false;
  paused = false;

  constructor(
    private readonly open: () => WebSocket,
    private readonly refused: () => void = () => undefined
  ) {}

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /**
   * Listen to a topic; what is returned ends it. The second to ask for a topic shares the first one's stream from now
   * on.
   */
  subscribe(name: string, take: (message: TopicMessage) => void, resume: () => Since | null): () => void {
    const topic = this.topics.get(name) ?? { takers: new Set(), resume };
    topic.takers.add(take);
    if (!this.topics.has(name)) {
      this.topics.set(name, topic);
      this.post({ op: 'subscribe', topic: name, since: resume() });
      this.start();
    }
    return () => {
      if (!topic.takers.delete(take) || topic.takers.size || this.topics.get(name) !== topic) return;
      this.topics.delete(name);
      this.post({ op: 'unsubscribe', topic: name });
    };
  }

  /**
   * Ask for series. Without a connection the question waits for one, and is asked again when it broke before the
   * answer.
   */
  ask(text: object, take: (answer: Answer) => void, owner: object = take): void {
    this.forget(owner);
    const id = ++this.number;
    this.questions.set(id, { text, take, owner });
    this.post({ ...text, op: 'series', id });
    this.start();
  }

  /** The owner waits no longer. */
  forget(owner: object): void {
    for (const [id, question] of this.questions) if (question.owner === owner) this.questions.delete(id);
  }

  private get wanted(): boolean {
    return !this.paused && this.topics.size + this.questions.size > 0;
  }

  private start(): void {
    if (this.socket || this.timer !== undefined || !this.wanted) return;
    const socket = this.open();
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    socket.onopen = () => this.opened();
    socket.onclose = () => this.lost(socket);
    socket.onmessage = event => this.heard(socket, event.data as string | ArrayBuffer);
    this.pulse = setTimeout(() => this.drop(), OPENING);
  }

  private opened(): void {
    this.connected = true;
    for (const [name, topic] of this.topics) this.post({ op: 'subscribe', topic: name, since: topic.resume() });
    for (const [id, question] of this.questions) this.post({ ...question.text, op: 'series', id });
    this.listen();
    this._changed.emit();
  }

  private lost(socket: WebSocket): void {
    if (socket !== this.socket) return;
    const was = this.connected;
    this.socket = null;
    this.connected = false;
    clearTimeout(this.pulse);
    if (!was) this.refused();
    if (this.wanted) {
      this.timer = setTimeout(() => {
        this.timer = undefined;
        this.start();
      }, this.wait);
      this.wait = Math.min(this.wait * 2, LONGEST);
    }
    this._changed.emit();
  }

  /** Close now, without waiting for the other side: over a cut network it never answers. */
  private drop(): void {
    const socket = this.socket;
    if (!socket) return;
    socket.onopen = socket.onclose = socket.onmessage = null;
    socket.close();
    this.lost(socket);
  }

  /** Nobody looks: no socket until `resume`, which goes on from where it was. */
  pause(): void {
    if (this.paused) return;
    this.paused = true;
    this.stopWaiting();
    this.drop();
  }

  resume(): void {
    this.paused = false;
    this.retry();
  }

  /** Try at once: the page came back to sight, or the network did. */
  retry(): void {
    if (this.socket || !this.wanted) return;
    this.stopWaiting();
    this.start();
  }

  private stopWaiting(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.wait = SHORTEST;
  }

  /** A cut network says nothing: a socket that does not answer is closed. */
  private listen(): void {
    clearTimeout(this.pulse);
    this.pulse = setTimeout(() => {
      this.post({ op: 'ping' });
      this.pulse = setTimeout(() => this.drop(), PATIENCE);
    }, PING);
  }

  /** A message that cannot be read leaves a gap: begin again from the last one that could. */
  private heard(socket: WebSocket, data: string | ArrayBuffer): void {
    if (socket !== this.socket) return;
    this.listen();
    let message: TopicMessage | Answer;
    try {
      message = typeof data === 'string' ? (JSON.parse(data) as TopicMessage) : decodeAnswer(data);
    } catch (error) {
      console.error('lepton_bench: a message of the server cannot be read', error);
      this.drop();
      return;
    }
    this.wait = SHORTEST; // the two understand each other
    if ('buffers' in message) return this.answered(message as Answer);
    for (const take of [...(this.topics.get(message.topic)?.takers ?? [])]) guard(() => take(message as TopicMessage));
  }

  private answered(answer: Answer): void {
    const question = this.questions.get(answer.id);
    this.questions.delete(answer.id);
    if (question) guard(() => question.take(answer));
  }

  private post(message: object): void {
    if (this.connected) this.socket!.send(JSON.stringify(message));
  }

  dispose(): void {
    this.topics.clear();
    this.questions.clear();
    this.stopWaiting();
    this.drop();
    clearTimeout(this.pulse);
    Signal.clearData(this);
  }
}

/** One listener's mistake is not the others'. */
function guard(work: () => void): void {
  try {
    work();
  } catch (error) {
    console.error(error);
  }
}
