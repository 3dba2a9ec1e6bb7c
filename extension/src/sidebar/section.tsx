/** One section of the sidebar, and how its React part learns whether it is seen. */
import { ReactWidget, type Toolbar } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import type { ComponentType } from 'react';
import { BenchContext, type Bench } from './context';

export class Section<P extends object> extends ReactWidget {
  constructor(
    private readonly tools: Bench,
    private readonly content: ComponentType<P & { active: boolean }>,
    private props: P,
    readonly toolbar?: Toolbar
  ) {
    super();
    this.addClass('jp-lb-section');
  }

  /** Other properties for the component. */
  set(props: Partial<P>): void {
    this.props = { ...this.props, ...props };
    this.update();
  }

  protected onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this.update();
  }

  protected onAfterHide(msg: Message): void {
    super.onAfterHide(msg);
    this.update();
  }

  /** Lumino only draws what is seen; here the hidden one too, which then lets its tables go. */
  protected render(): JSX.Element {
    return (
      <BenchContext.Provider value={this.tools}>
        <this.content {...this.props} active={this.isVisible} />
      </BenchContext.Provider>
    );
  }
}
