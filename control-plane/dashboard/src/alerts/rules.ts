// The rules of alerts, as they are named; one of a newer server is something else.
export const RULES = [
  "site_dark",
  "not_protected",
  "disk_failing",
  "box_offline",
  "store_filling",
  "route_failing",
  "flagged",
] as const;

export function ruleOf(rule: string | null | undefined): (typeof RULES)[number] | "unknown" {
  return RULES.find((known) => known === rule) ?? "unknown";
}

/** How loud it is: what loses data first. */
export function weight(rule: string): number {
  const at = RULES.findIndex((known) => known === rule);
  return at < 0 ? RULES.length : at;
}
