// What the screens ask. Keys begin with `fleet` or `appliance` and an id: the live connection makes those old.
import { queryOptions, useQuery } from "@tanstack/react-query";
import { reaches, roleAt, Tree, type Role } from "../kit/tree";
import { api, ask } from "./client";

export const me = queryOptions({
  queryKey: ["me"],
  queryFn: ({ signal }) => ask(api.GET("/api/v1/me", { signal })),
  staleTime: 60_000,
});

export const tree = queryOptions({
  queryKey: ["nodes"],
  queryFn: async ({ signal }) => new Tree((await ask(api.GET("/api/v1/nodes", { signal }))).items),
  staleTime: 60_000,
  structuralSharing: false,
});

export const protection = (node?: string) =>
  queryOptions({
    queryKey: ["fleet", "protection", node],
    queryFn: ({ signal }) => ask(api.GET("/api/v1/protection", { signal, params: { query: { node } } })),
  });

export const alerts = queryOptions({
  queryKey: ["fleet", "alerts"],
  queryFn: async ({ signal }) => (await ask(api.GET("/api/v1/alerts", { signal }))).items,
  refetchInterval: 15_000,
});

export const appliance = (id: string) =>
  queryOptions({
    queryKey: ["appliance", id],
    queryFn: ({ signal }) => ask(api.GET("/api/v1/appliances/{id}", { signal, params: { path: { id } } })),
  });

export const reported = (id: string) =>
  queryOptions({
    queryKey: ["appliance", id, "reported"],
    queryFn: ({ signal }) => ask(api.GET("/api/v1/appliances/{id}/reported", { signal, params: { path: { id } } })),
  });

export const releaseOf = (id: string) =>
  queryOptions({
    queryKey: ["appliance", id, "release"],
    queryFn: ({ signal }) => ask(api.GET("/api/v1/appliances/{id}/release", { signal, params: { path: { id } } })),
  });

export const commands = (id: string) =>
  queryOptions({
    queryKey: ["appliance", id, "commands"],
    queryFn: async ({ signal }) =>
      (await ask(api.GET("/api/v1/appliances/{id}/commands", { signal, params: { path: { id } } }))).items,
  });

export const logs = (id: string) =>
  queryOptions({
    queryKey: ["appliance", id, "logs"],
    queryFn: async ({ signal }) =>
      (await ask(api.GET("/api/v1/appliances/{id}/logs", { signal, params: { path: { id } } }))).items,
  });

/** A list by pages of 100: the newest first. */
export const paged = <P extends { next?: string | null }>(
  key: readonly string[],
  page: (after: string | undefined, signal: AbortSignal) => Promise<P>,
) => ({
  queryKey: key,
  queryFn: ({ pageParam, signal }: { pageParam: string | undefined; signal: AbortSignal }) => page(pageParam, signal),
  initialPageParam: undefined as string | undefined,
  getNextPageParam: (last: P) => last.next ?? undefined,
});

export const jobs = (id: string) =>
  paged(["appliance", id, "jobs"], (after, signal) =>
    ask(api.GET("/api/v1/appliances/{id}/jobs", { signal, params: { path: { id }, query: { after, limit: 100 } } })),
  );

export const points = (id: string) =>
  paged(["appliance", id, "points"], (after, signal) =>
    ask(
      api.GET("/api/v1/appliances/{id}/recovery-points", {
        signal,
        params: { path: { id }, query: { after, limit: 100 } },
      }),
    ),
  );

export const facts = (id: string) =>
  paged(["appliance", id, "facts"], (after, signal) =>
    ask(
      api.GET("/api/v1/appliances/{id}/facts", {
        signal,
        params: { path: { id }, query: { after, limit: 100, newest: true } },
      }),
    ),
  );

/** Whether the person may do that at a node; not yet known is no. */
export function useMay(): (node: string | undefined, needed: Role) => boolean {
  const who = useQuery(me).data;
  const nodes = useQuery(tree).data;
  return (node, needed) => {
    if (!who || !nodes || node === undefined) return false;
    return reaches(roleAt(who.grants, nodes, node), needed);
  };
}

/** The tree, empty until it is known. */
export function useTree(): Tree {
  return useQuery(tree).data ?? NONE;
}

const NONE = new Tree([]);
