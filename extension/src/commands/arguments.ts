/** Rows carry what commands take as data-…. */

const WORDS = ['run', 'allocation', 'status', 'name', 'kind', 'output', 'headless'];

/** What the data of a row means as arguments. */
export function argumentsOf(data: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(WORDS.filter(word => data[word]).map(word => [word, data[word]!]));
}
