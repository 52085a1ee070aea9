import { expect, test } from "vitest";
import { asQuery, fleetSearch, isFiltered } from "./search";

test("an address is read, and what is not understood is left out", () => {
  expect(
    fleetSearch({
      name: 77,
      presence: "online",
      protected: false,
      flagged: "yes",
      sort: "colour",
      tag: "",
      node: ["x"],
    }),
  ).toEqual({ name: "77", presence: "online", protected: false });
  expect(fleetSearch({ name: "x".repeat(200) }).name).toHaveLength(100);
});

test("what is not protected comes first unless somebody wants another order", () => {
  expect(asQuery({ name: "a" })).toEqual({ name: "a", sort: "protected", limit: 100 });
  expect(asQuery({ sort: "name" }, "place")).toEqual({ sort: "name", limit: 100, after: "place" });
});

test("an order is no filter", () => {
  expect(isFiltered({ sort: "name" })).toBe(false);
  expect(isFiltered({ protected: false })).toBe(true);
});
