/** A device's use of the last minutes. What it shows is also said as a text, and stands in the table. */
import { useBench } from './context';
import { HEIGHT, lastMinutes, path, summary, WIDTH, type Use } from './history';

export function Sparkline({ label, history, minutes }: { label: string; history: Use; minutes: number }): JSX.Element {
  const { trans } = useBench();
  const use = lastMinutes(history, minutes);
  const { now, mean, most } = summary(use);
  const percent = (x: number | null): string => (x === null ? trans.__('unknown') : `${Math.round(x)} %`);
  const name =
    most === null
      ? trans.__('Utilisation of %1: unknown', label)
      : trans.__(
          'Utilisation of %1, last %2 min: now %3, mean %4, at most %5',
          label,
          minutes,
          percent(now),
          percent(mean),
          percent(most)
        );
  return (
    <svg
      className="jp-lb-spark"
      role="img"
      aria-label={name}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
    >
      <title>{name}</title>
      <path
        d={path(use, history.every > 0 ? Math.round((minutes * 60) / history.every) : use.length)}
        vectorEffect="non-scaling-stroke"
      />
    </svg>
  );
}
