import { expect, test } from "vitest";
import type { Schemas } from "../api/client";
import { place } from "../appliance/timeline";
import { readTags } from "../fleet/tags";
import { gather } from "../people/gather";
import { readTimes } from "../policies/times";
import { cell, toCsv, total } from "../reports/table";
import { ruleOf, weight } from "../alerts/rules";

test("moments lie on their line from the oldest to the newest", () => {
  expect(place([30, 20, 10], 100)).toEqual([100, 50, 0]);
  expect(place([7], 100)).toEqual([100]);
});

test("times are read as a person types them", () => {
  expect(readTimes("9:5, 22:00;9:05 nonsense")).toEqual(["09:05", "22:00", "nonsense"]);
  expect(readTimes("")).toEqual([]);
});

test("tags are words between commas, each once", () => {
  expect(readTags(" till, 2026,, till ,")).toEqual(["till", "2026"]);
  expect(readTags("")).toEqual([]);
});

test("a person with two roles is one person", () => {
  const account = (id: string, email: string, node: string) => ({ id, email, node, role: "viewer" });
  const people = gather([account("2", "b@x", "n"), account("1", "a@x", "n"), account("2", "b@x", "m")]);
  expect(people.map((person) => [person.email, person.grants.length])).toEqual([
    ["a@x", 1],
    ["b@x", 2],
  ]);
});

test("a report adds up, and its table holds no formula", () => {
  const row = {
    device: "d",
    name: "=1+1",
    site: "s",
    protected: true,
    backups: 3,
    backups_failed: 1,
    proofs_failed: 1,
  };
  const boxes = [{ ...row, verifies: 1, restore_tests: 2, recovery_points: 3, newest_ms: 0 } as Schemas["ReportOfBox"]];
  expect(total(boxes)).toEqual({ boxes: 1, protected: 1, backups: 3, failed: 2, tests: 2 });
  expect(toCsv(boxes, () => "A, B").split("\r\n")[1]).toBe(`d,'=1+1,"A, B",true,,3,1,1,2,1,3,1970-01-01T00:00:00.000Z`);
  expect([cell(-1), cell("-1"), cell('a"b')]).toEqual(["-1", "'-1", '"a""b"']);
});

test("a rule of a newer server is something else, and the least of all", () => {
  expect(ruleOf("site_dark")).toBe("site_dark");
  expect(ruleOf("brand_new")).toBe("unknown");
  expect(weight("disk_failing")).toBeLessThan(weight("brand_new"));
});
