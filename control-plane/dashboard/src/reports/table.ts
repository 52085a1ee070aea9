// A report as numbers and as CSV (RFC 4180). A cell that a spreadsheet would run begins with an apostrophe. Pure.
import type { Schemas } from "../api/client";

type Row = Schemas["ReportOfBox"];

export function total(boxes: readonly Row[]) {
  const sum = (of: (row: Row) => number) => boxes.reduce((all, row) => all + of(row), 0);
  return {
    boxes: boxes.length,
    protected: sum((row) => Number(row.protected)),
    backups: sum((row) => row.backups),
    failed: sum((row) => row.backups_failed + row.proofs_failed),
    tests: sum((row) => row.restore_tests),
  };
}

export function cell(value: string | number | boolean): string {
  const text = String(value);
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

const HEAD = [
  "box",
  "name",
  "site",
  "protected",
  "reason",
  "backups",
  "backups_failed",
  "verifies",
  "restore_tests",
].concat(["proofs_failed", "recovery_points", "newest"]);

export function toCsv(boxes: readonly Row[], place: (site: string) => string): string {
  const rows = boxes.map((row) => [
    row.device,
    row.name,
    place(row.site),
    row.protected,
    row.reason ?? "",
    row.backups,
    row.backups_failed,
    row.verifies,
    row.restore_tests,
    row.proofs_failed,
    row.recovery_points,
    row.newest_ms == null ? "" : new Date(row.newest_ms).toISOString(),
  ]);
  return [HEAD, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}
