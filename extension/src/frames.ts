/** What comes through the socket. */

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

/** The answer to a question, as a binary frame. */
export interface Answer {
  id: number;
  reply: unknown;
  buffers: DataView[];
}

/** Length of the header, the header, buffers one after another. */
export function decodeAnswer(data: ArrayBuffer): Answer {
  const size = new DataView(data).getUint32(0, true);
  const { id, sizes, reply } = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, size))) as {
    id: number;
    sizes: number[];
    reply: unknown;
  };
  let at = 4 + size;
  return { id, reply, buffers: sizes.map(length => new DataView(data, (at += length) - length, length)) };
}
