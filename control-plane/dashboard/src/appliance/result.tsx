// What a job says of itself when it has ended, in words.
import { useTranslations } from "use-intl";
import type { Schemas } from "../api/client";
import { useBytes } from "../kit/words";

export function useResult(): (result: Schemas["JobResult"]) => string {
  const t = useTranslations();
  const bytes = useBytes();
  return (result) => {
    if ("message" in result) return result.message;
    if ("bytes_read" in result) {
      const done = t("jobSaid.backup", {
        fresh: bytes(result.bytes_new),
        read: bytes(result.bytes_read),
        stored: bytes(result.bytes_stored),
      });
      return result.hole_bytes > 0 ? `${done}; ${t("jobSaid.holes", { size: bytes(result.hole_bytes) })}` : done;
    }
    if ("chunks" in result) {
      const verdict = t(`verdict.${result.verdict}`);
      return t("jobSaid.verify", { chunks: result.chunks, size: bytes(result.bytes), verdict });
    }
    if ("files" in result) {
      const verdict = t(`verdict.${result.verdict}`);
      return t("jobSaid.restore_test", { files: result.files, size: bytes(result.bytes), verdict });
    }
    if ("bytes_written" in result) {
      return t("jobSaid.restore", { size: bytes(result.bytes_written), target: result.target });
    }
    return t("jobSaid.prune", { size: bytes(result.bytes_freed), kept: result.kept });
  };
}

/** What a job found that a person should read: notes and problems. */
export function remarks(result: Schemas["JobResult"]): string[] {
  if ("problems" in result) return result.problems?.shown ?? [];
  if (!("notes" in result)) return [];
  return (result.notes?.shown ?? []).map((note) => (typeof note === "string" ? note : note.text));
}
