// Times of a day as a person types them. Pure.
import type { Schemas } from "../api/client";

export const DAYS: readonly Schemas["Weekday"][] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/** `9:5, 22:00` is 09:05 and 22:00; what is no time goes to the server as it is, which says so. */
export function readTimes(typed: string): string[] {
  const times = typed
    .split(/[,;\s]+/)
    .filter((word) => word !== "")
    .map((word) =>
      word.replace(/^(\d{1,2}):(\d{1,2})$/, (_, h: string, m: string) => `${h.padStart(2, "0")}:${m.padStart(2, "0")}`),
    );
  return [...new Set(times)].sort();
}
