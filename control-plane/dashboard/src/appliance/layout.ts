// Where on the drawing of a partition its holes lie, and how far it is filled, in percent of its width.
import type { Schemas } from "../api/client";

type Partition = Schemas["Partition"];
type Summary = Schemas["BackupSummary"];

export interface Stretch {
  left: number;
  width: number;
}

/** The parts of the holes that lie in this partition; one that does not say where it begins shows none. */
export function holesIn(part: Partition, holes: readonly Schemas["HoleNote"][]): Stretch[] {
  const from = part.start_bytes;
  if (from == null || part.size_bytes === 0) return [];
  return holes.flatMap((hole) => {
    const start = Math.max(hole.start_bytes, from);
    const end = Math.min(hole.start_bytes + hole.length_bytes, from + part.size_bytes);
    if (end <= start) return [];
    return [{ left: (100 * (start - from)) / part.size_bytes, width: (100 * (end - start)) / part.size_bytes }];
  });
}

/** How full its file system was at the last backup; null where only its size is known. */
export function usedPercent(part: Partition, summary: Summary | null | undefined): number | null {
  const use = summary?.used?.shown.find((use) => use.partition === part.number);
  if (!use || part.size_bytes === 0) return null;
  return Math.min(100, (100 * use.used_bytes) / part.size_bytes);
}
