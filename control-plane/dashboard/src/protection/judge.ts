// What the first screen shows, from what the server counts: customers with boxes that are not protected, the worst first. Pure.
import type { Reason, Schemas } from "../api/client";
import type { Tree } from "../kit/tree";

export interface Unprotected {
  /** The node; the customer where it may be seen, else the site. */
  id: string;
  name: string;
  boxes: number;
  bad: number;
  since: number;
  reasons: { reason: Reason; boxes: number; since: number }[];
  sites: { id: string; name: string; boxes: number; bad: number; reasons: Reason[] }[];
}

export interface Judged {
  boxes: number;
  bad: number;
  worst: Unprotected[];
}

export function judge(sites: readonly Schemas["Standing"][], tree: Tree): Judged {
  const groups = new Map<string, Unprotected>();
  let [boxes, bad] = [0, 0];
  for (const site of sites) {
    const lacking = site.boxes - site.protected;
    boxes += site.boxes;
    bad += lacking;
    const owner = tree.customerOf(site.site) ?? tree.get(site.site);
    const id = owner?.id ?? site.site;
    const group = groups.get(id) ?? {
      id,
      name: owner?.name ?? id,
      boxes: 0,
      bad: 0,
      since: Infinity,
      reasons: [],
      sites: [],
    };
    groups.set(id, group);
    group.boxes += site.boxes;
    if (lacking === 0) continue;
    group.bad += lacking;
    for (const why of site.reasons) {
      group.since = Math.min(group.since, why.since_ms);
      const known = group.reasons.find((one) => one.reason === why.reason);
      if (known) {
        known.boxes += why.boxes;
        known.since = Math.min(known.since, why.since_ms);
      } else group.reasons.push({ reason: why.reason, boxes: why.boxes, since: why.since_ms });
    }
    const name = tree.get(site.site)?.name ?? site.site;
    group.sites.push({
      id: site.site,
      name,
      boxes: site.boxes,
      bad: lacking,
      reasons: site.reasons.map((why) => why.reason),
    });
  }
  const worst = [...groups.values()].filter((group) => group.bad > 0);
  for (const group of worst) {
    group.reasons.sort((one, other) => other.boxes - one.boxes || one.since - other.since);
    group.sites.sort((one, other) => other.bad - one.bad);
  }
  worst.sort((one, other) => other.bad - one.bad || one.since - other.since || one.name.localeCompare(other.name));
  return { boxes, bad, worst };
}

/** Percent of boxes that were protected; the day is today's for the last one. */
export function trend(days: readonly Schemas["Day"][]): { at: number; percent: number }[] {
  return days
    .filter((day) => day.boxes > 0)
    .map((day) => ({ at: day.day_ms, percent: (100 * day.protected) / day.boxes }));
}
