import { expect, test } from "vitest";
import { holesIn, usedPercent } from "./layout";

const part = { number: 2, start_bytes: 1000, size_bytes: 400, filesystem: "ext4" };
const hole = (start_bytes: number, length_bytes: number) => ({
  start_bytes,
  length_bytes,
  cause: "unreadable" as const,
});

test("a hole is drawn where it lies in its partition, and cut at its ends", () => {
  const holes = [hole(0, 1000), hole(900, 200), hole(1200, 4), hole(1390, 100), hole(1400, 10)];
  expect(holesIn(part, holes)).toEqual([
    { left: 0, width: 25 },
    { left: 50, width: 1 },
    { left: 97.5, width: 2.5 },
  ]);
  expect(holesIn({ ...part, start_bytes: null }, holes)).toEqual([]);
});

test("a partition is as full as its own file system says", () => {
  const used = { shown: [{ partition: 2, used_bytes: 100 }], more: 0 };
  const summary = { used } as Parameters<typeof usedPercent>[1];
  expect(usedPercent(part, summary)).toBe(25);
  expect(usedPercent({ ...part, number: 1 }, summary)).toBeNull();
  expect(usedPercent(part, null)).toBeNull();
});
