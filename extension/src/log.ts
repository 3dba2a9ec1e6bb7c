/** A rank's output as it is written; kept as far back as a new looker needs it. */
import type { Connection } from './connection';
import type { Since, TopicMessage } from './frames';
import type { LogChunk } from './tokens';

const KEEP = 300_000; // bytes, a little more than what the server begins with

type Taker = (chunk: LogChunk) => void;

export class LogFeed {
  private chunks: LogChunk[] = [];
  private since: Since | null = null;
  private readonly takers = new Set<Taker>();
  private readonly end: () => void;

  constructor(connection: Connection, topic: string) {
    this.end = connection.subscribe(
      topic,
      message => this.take(message),
      () => this.since
    );
  }

  get idle(): boolean {
    return !this.takers.size;
  }

  /** Whoever comes later first gets what is kept, as one piece. */
  add(take: Taker): () => void {
    this.takers.add(take);
    if (this.chunks.length) {
      const [first, last] = [this.chunks[0], this.chunks[this.chunks.length - 1]];
      take({ begin: first.begin, end: last.end, text: this.chunks.map(c => c.text).join(''), full: true });
    }
    return () => void this.takers.delete(take);
  }

  private take(message: TopicMessage): void {
    if (message.error || (!this.since && !message.full)) return; // the tail of an earlier subscription
    const chunk: LogChunk = {
      begin: message.begin as number,
      end: message.version!,
      text: message.text as string,
      full: !!message.full
    };
    if (chunk.full) this.chunks = [];
    this.chunks.push(chunk);
    while (this.chunks.length > 1 && chunk.end - this.chunks[0].end > KEEP) this.chunks.shift();
    this.since = { epoch: message.epoch!, version: message.version! };
    for (const take of [...this.takers]) take(chunk);
  }

  close(): void {
    this.end();
    this.takers.clear();
  }
}
