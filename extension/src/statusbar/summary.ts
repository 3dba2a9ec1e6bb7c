/** The bench in a few numbers. */
import type { AllocationRow, DeviceRow } from '../tokens';

/** Devices that are held, by anybody; of how many; runs that go on. */
export function summarize(
  devices: Iterable<DeviceRow>,
  allocations: Iterable<AllocationRow>
): { held: number; all: number; runs: number } {
  const rows = [...devices];
  return {
    held: rows.filter(d => d.holder).length,
    all: rows.length,
    runs: [...allocations].filter(a => a.run).length
  };
}
