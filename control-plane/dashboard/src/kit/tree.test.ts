import { expect, test } from "vitest";
import { reaches, roleAt, Tree } from "./tree";

const tree = new Tree([
  { id: "o", kind: "organisation", name: "Org", parent: null },
  { id: "c", kind: "customer", name: "Bakery", parent: "o" },
  { id: "s", kind: "site", name: "Main street", parent: "c" },
  { id: "d", kind: "customer", name: "Garage", parent: "o" },
]);

test("a name is the way to it, without what all have in common", () => {
  expect(tree.name("s")).toBe("Bakery › Main street");
  expect(tree.name("o")).toBe("Org");
  expect(tree.name("unknown")).toBe("unknown");
});

test("a role holds below the node it was given on, and nowhere else", () => {
  const grants = [
    { path: "/o/c/", role: "operator" as const },
    { path: "/o/c/s/", role: "viewer" as const },
  ];
  expect(["o", "c", "s", "d", "unknown"].map((id) => roleAt(grants, tree, id))).toEqual([
    undefined,
    "operator",
    "operator",
    undefined,
    undefined,
  ]);
  expect(reaches(undefined, "viewer")).toBe(false);
  expect(reaches("operator", "viewer")).toBe(true);
  expect(reaches("operator", "admin")).toBe(false);
});

test("a tree whose nodes hang on each other ends", () => {
  const ring = new Tree([
    { id: "a", kind: "site", name: "a", parent: "b" },
    { id: "b", kind: "site", name: "b", parent: "a" },
  ]);
  expect(ring.upwards("a").map((node) => node.id)).toEqual(["a", "b"]);
});
