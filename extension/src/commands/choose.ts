/** Questions that commands ask. */
import { Dialog, InputDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { SteadyDialog } from '../dialog';
import type { ITable, Row } from '../tokens';

const PATIENCE = 10_000; // milliseconds for the first answer

/** The rows of a table, once they are there. */
export function rowsOf<T extends Row>(table: ITable<T>, trans: TranslationBundle): Promise<T[]> {
  return new Promise((resolve, reject) => {
    const end = (finish: () => void): void => {
      clearTimeout(timer);
      table.changed.disconnect(look);
      finish();
      table.dispose();
    };
    const look = (): void => {
      if (table.ready) end(() => resolve([...table.rows.values()]));
      else if (table.error) end(() => reject(new Error(table.error)));
    };
    const timer = setTimeout(() => end(() => reject(new Error(trans.__('The server does not answer.')))), PATIENCE);
    table.changed.connect(look);
    look();
  });
}

/** One of several by a dialog; null when it was given up. */
export async function choose<T>(title: string, items: T[], label: (item: T) => string): Promise<T | null> {
  const labels = items.map(label);
  const { button, value } = await InputDialog.getItem({ title, items: labels });
  return button.accept && value !== null ? (items[labels.indexOf(value)] ?? null) : null;
}

/** Whether to go on although work is lost. */
export async function confirm(title: string, body: string, accept: string, trans: TranslationBundle): Promise<boolean> {
  const buttons = [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.warnButton({ label: accept })];
  return (await new SteadyDialog({ title, body, buttons, defaultButton: 0 }).launch()).button.accept;
}
