/** What is under way is not begun again, and what goes wrong is said. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { IBench, IPreferences } from '../tokens';

/** What commands are made with. */
export interface Tools {
  commands: JupyterFrontEnd['commands'];
  bench: IBench;
  preferences: IPreferences;
  trans: TranslationBundle;
  once: Once;
}

export class Once {
  private readonly going = new Map<string, Promise<boolean>>();

  /** True when it was done, false when it failed (it is said then) or was given up. */
  run(key: string, work: () => Promise<boolean | void>): Promise<boolean> {
    const known = this.going.get(key);
    if (known) return known;
    const promise = this.attempt(work).finally(() => this.going.delete(key));
    this.going.set(key, promise);
    return promise;
  }

  private async attempt(work: () => Promise<boolean | void>): Promise<boolean> {
    try {
      return (await work()) !== false;
    } catch (error) {
      Notification.error((error as Error).message, { autoClose: 10_000 });
      return false;
    }
  }
}
