/** The plot's strings: JupyterLab translates them, a cell has them as they stand. */

export interface Words {
  __(text: string, ...given: unknown[]): string;
}

/** `%1` and so on are filled in, nothing is translated. */
export const plainWords: Words = {
  __: (text, ...given) => text.replace(/%(\d)/g, (_, n) => String(given[Number(n) - 1]))
};
