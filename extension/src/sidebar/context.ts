/** What every component of the sidebar needs. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { TranslationBundle } from '@jupyterlab/translation';
import { createContext, useContext } from 'react';
import type { IBench, IPreferences } from '../tokens';
import type { AllocateForm } from './form';

export interface Bench {
  bench: IBench;
  commands: JupyterFrontEnd['commands'];
  preferences: IPreferences;
  trans: TranslationBundle;
  form: AllocateForm;
}

export const BenchContext = createContext<Bench | null>(null);
export const useBench = (): Bench => useContext(BenchContext)!;
