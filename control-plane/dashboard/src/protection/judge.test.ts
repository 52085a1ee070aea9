import { expect, test } from "vitest";
import { Tree } from "../kit/tree";
import { judge, trend } from "./judge";

const tree = new Tree([
  { id: "o", kind: "organisation", name: "Org", parent: null },
  { id: "c", kind: "customer", name: "Bakery", parent: "o" },
  { id: "s", kind: "site", name: "Main street", parent: "c" },
  { id: "t", kind: "site", name: "Harbour", parent: "c" },
  { id: "d", kind: "customer", name: "Garage", parent: "o" },
  { id: "u", kind: "site", name: "Yard", parent: "d" },
  { id: "x", kind: "site", name: "Alone", parent: "unseen" },
]);

test("customers are shown the worst first, with what most of their boxes lack first", () => {
  const judged = judge(
    [
      { site: "s", boxes: 5, protected: 3, reasons: [{ reason: "too_old", boxes: 2, since_ms: 50 }] },
      { site: "t", boxes: 2, protected: 1, reasons: [{ reason: "no_disk", boxes: 1, since_ms: 10 }] },
      { site: "u", boxes: 9, protected: 9, reasons: [] },
      { site: "x", boxes: 4, protected: 0, reasons: [{ reason: "too_old", boxes: 4, since_ms: 90 }] },
    ],
    tree,
  );
  expect([judged.boxes, judged.bad]).toEqual([20, 7]);
  expect(judged.worst.map(({ name, bad, boxes, since }) => [name, bad, boxes, since])).toEqual([
    ["Alone", 4, 4, 90],
    ["Bakery", 3, 7, 10],
  ]);
  expect(judged.worst[1]?.reasons).toEqual([
    { reason: "too_old", boxes: 2, since: 50 },
    { reason: "no_disk", boxes: 1, since: 10 },
  ]);
  expect(judged.worst[1]?.sites.map((site) => site.name)).toEqual(["Main street", "Harbour"]);
});

test("nobody is nobody's fault", () => {
  expect(judge([], tree)).toEqual({ boxes: 0, bad: 0, worst: [] });
});

test("a day without boxes is no day of the trend", () => {
  const days = [
    { day_ms: 1, boxes: 0, protected: 0 },
    { day_ms: 2, boxes: 4, protected: 3 },
  ];
  expect(trend(days)).toEqual([{ at: 2, percent: 75 }]);
});
