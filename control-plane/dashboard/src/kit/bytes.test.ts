import { expect, test } from "vitest";
import { formatBytes, formatSpan } from "./bytes";

test.each([
  [0, "0 byte"],
  [999, "999 byte"],
  [999_500, "1 MB"],
  [1_440_000, "1.44 MB"],
  [500_107_862_016, "500 GB"],
  [7_999_450_000_000_000_000, "8,000 PB"],
])("%d bytes are %s", (bytes, expected) => {
  expect(formatBytes(bytes, "en")).toBe(expected);
});

test("a French disk has octets", () => {
  expect(formatBytes(2e12, "fr").replace(/\s/g, " ")).toBe("2 To");
});

test.each([
  [-3, "0 sec"],
  [59.6, "1 min"],
  [3600, "1 hr"],
  [3725, "1 hr 2 min"],
  [90_061, "1 day 1 hr"],
])("%d seconds are %s", (seconds, expected) => {
  expect(formatSpan(seconds, "en")).toBe(expected);
});
