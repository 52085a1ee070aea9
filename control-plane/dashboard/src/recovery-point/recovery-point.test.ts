import { expect, test } from "vitest";
import type { Schemas } from "../api/client";
import { commandText, signLine, ulid } from "./command";
import { newestProofs } from "./proofs";

const point = {
  snapshot: "a1",
  taken_ms: 100,
  state: "complete",
  summary: { repository: "r" },
} as Schemas["RecoveryPoint"];

function job(ended_ms: number, result: unknown): Schemas["Job"] {
  return { id: String(ended_ms), work: "verify", state: "done", ended_ms, result } as Schemas["Job"];
}

test("only what came after it, of its repository or of itself, proves a recovery point", () => {
  const verify = { chunks: 1, bytes: 1, repository: "r", snapshots: 1, verdict: "clean" };
  const test = { files: 1, bytes: 1, snapshot: "a1", verdict: "clean" };
  expect(newestProofs([job(99, verify), job(101, { ...verify, repository: "other" })], point).verified).toBeUndefined();
  expect(newestProofs([job(150, { ...test, snapshot: "b2" })], point).restored).toBeUndefined();
  expect(newestProofs([job(150, { reason: "internal", message: "no" })], point).restored).toBeUndefined();
  const jobs = [job(120, verify), job(130, { ...verify, verdict: "damaged" }), job(110, test)];
  expect(newestProofs(jobs, point)).toEqual({
    verified: { at: 130, verdict: "damaged", ofThis: false },
    restored: { at: 110, verdict: "clean", ofThis: true },
  });
});

test("a restore is written as the box reads it", () => {
  const wanted = { what: "files" as const, target: "STICK-1", partition: 2, paths: "/a b\n\n/c", snapshot: "a1" };
  const command = JSON.parse(commandText(wanted, 1_000)) as Record<string, unknown>;
  expect(command["args"]).toEqual({
    snapshot: "a1",
    extent: { what: "files", partition: 2, paths: ["/a b", "/c"], stick: "STICK-1" },
  });
  expect(command["exp"]).toBe(86_401_000);
  expect(command["id"]).toMatch(/^cmd-[0-9a-hjkmnp-tv-z]{26}$/);
});

test("what is typed on the server is one word, whatever somebody typed", () => {
  expect(signLine("d-1", "it's")).toBe("printf '%s' 'it'\\''s' | saveos-server sign --what command --device d-1");
});

test("a ULID sorts by its time", () => {
  const chance = new Uint8Array(16);
  expect(ulid(0, chance)).toBe("0".repeat(26));
  expect(ulid(2, chance) > ulid(1, chance)).toBe(true);
});
