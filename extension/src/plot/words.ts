/** The plot's strings: JupyterLab translates them, a cell has them as they stand. */

export interface Words {
  __(text: string, ...given: unknown[]): string;
  /** One or many: `%1` is the count, the rest follows. */
  _n(one: string, many: string, count: number, ...given: unknown[]): string;
}

const fill = (text: string, given: unknown[]): string => text.replace(/%(\d)/g, (_, n) => String(given[Number(n) - 1]));

/** `%1` and so on are filled in, nothing is translated. */
export const plainWords: Words = {
  __: (text, ...given) => fill(text, given),
  _n: (one, many, count, ...given) => fill(count === 1 ? one : many, [count, ...given])
};
