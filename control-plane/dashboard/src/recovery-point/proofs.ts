// Which jobs prove a recovery point: a restore test of it, and verifies of its repository after it was taken. Pure.
import type { Schemas } from "../api/client";

export interface Proof {
  at: number;
  verdict: Schemas["VerifyVerdict"];
  /** Of this recovery point, not only of the repository that it lies in. */
  ofThis: boolean;
}

export function newestProofs(
  jobs: readonly Schemas["Job"][],
  point: Schemas["RecoveryPoint"],
): { verified: Proof | undefined; restored: Proof | undefined } {
  let verified: Proof | undefined;
  let restored: Proof | undefined;
  for (const { ended_ms: at, result } of jobs) {
    if (at == null || at < point.taken_ms || !result || "message" in result) continue;
    if ("chunks" in result && result.repository === point.summary?.repository && at > (verified?.at ?? 0)) {
      verified = { at, verdict: result.verdict, ofThis: false };
    }
    if ("files" in result && result.snapshot === point.snapshot && at > (restored?.at ?? 0)) {
      restored = { at, verdict: result.verdict, ofThis: true };
    }
  }
  return { verified, restored };
}
