// What the list of boxes is filtered and sorted by: all of it is in the address, so that an address is a view.
export const SORTS = ["protected", "name", "-name", "heard", "-heard", "id"] as const;
export const PRESENCES = ["online", "late", "offline", "never"] as const;

export interface FleetSearch {
  name?: string;
  node?: string;
  presence?: (typeof PRESENCES)[number];
  protected?: boolean;
  flagged?: true;
  tag?: string;
  sort?: (typeof SORTS)[number];
}

/** Reads an address; what is not understood is left out. */
export function fleetSearch(search: Record<string, unknown>): FleetSearch {
  const word = (value: unknown) =>
    typeof value === "string" && value !== "" ? value : typeof value === "number" ? String(value) : undefined;
  const [name, node, tag] = [word(search["name"]), word(search["node"]), word(search["tag"])];
  const presence = PRESENCES.find((presence) => presence === search["presence"]);
  const sort = SORTS.find((sort) => sort === search["sort"]);
  return {
    ...(name && { name: name.slice(0, 100) }),
    ...(node && { node }),
    ...(presence && { presence }),
    ...(typeof search["protected"] === "boolean" && { protected: search["protected"] }),
    ...(search["flagged"] === true && { flagged: true as const }),
    ...(tag && { tag }),
    ...(sort && { sort }),
  };
}

/** The same as the API asks for it. */
export function asQuery(search: FleetSearch, after?: string) {
  const { sort = "protected", ...filter } = search;
  return { ...filter, sort, limit: 100, ...(after !== undefined && { after }) };
}

export function isFiltered({ sort: _sort, ...filter }: FleetSearch): boolean {
  return Object.keys(filter).length > 0;
}
