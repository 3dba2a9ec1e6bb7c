/** Rows carry what commands take as data-lb-…. */

const WORDS: Record<string, string> = { lbRun: 'run', lbAllocation: 'allocation', lbStatus: 'status', lbName: 'name' };

/** What the data of a row means as arguments. */
export function argumentsOf(data: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(Object.entries(WORDS).filter(([key]) => data[key]).map(([key, word]) => [word, data[key]!]));
}
