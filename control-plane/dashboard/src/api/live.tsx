// The live connection: what happens to the fleet makes what is shown of it old, so that it is asked anew. It says when it is not live.
import { useQueryClient } from "@tanstack/react-query";
import { createContext, use, useEffect, useState, type ReactNode } from "react";
import { api } from "./client";

export type Live = { state: "live" } | { state: "waiting" | "broken"; since: number };

/** What changes a list or the state of protection. Progress comes only of the box that is looked at. */
const KINDS = ["presence", "disk_seen", "disk_identified", "disk_gone", "smart", "job_started", "job_ended"]
  .concat(["snapshot_found", "store_capacity", "key", "policy_refused", "tamper", "clock_jump", "same_id_twice", "gap"])
  .join(",");
const OF_ONE_BOX = [...KINDS.split(","), "progress", "command", "stream_born"];
/** A fleet that says much is asked anew at most this often. */
const PAUSE_MS = 1000;

interface Shared {
  live: Live;
  watch: (device: string | undefined) => void;
}

const LiveContext = createContext<Shared>({ live: { state: "waiting", since: 0 }, watch: () => undefined });

export function useLive(): Live {
  return use(LiveContext).live;
}

/** Also the progress of this box, as long as it is on the screen. */
export function useWatch(device: string): void {
  const { watch } = use(LiveContext);
  useEffect(() => {
    watch(device);
    return () => watch(undefined);
  }, [device, watch]);
}

export function LiveProvider({ children, onSignedOut }: { children: ReactNode; onSignedOut: () => void }) {
  const queries = useQueryClient();
  const [live, setLive] = useState<Live>(() => ({ state: "waiting", since: Date.now() }));
  const [device, watch] = useState<string>();

  useEffect(() => {
    const changed = new Set<string>();
    let pause: ReturnType<typeof setTimeout> | undefined;
    let again: ReturnType<typeof setTimeout> | undefined;
    let source: EventSource | undefined;
    let over = false;
    let missed = false;

    const tell = () => {
      pause = undefined;
      const devices = new Set(changed);
      changed.clear();
      void queries.invalidateQueries({
        predicate: ({ queryKey: [scope, id] }) =>
          scope === "fleet" || (scope === "appliance" && devices.has(String(id))),
      });
    };
    const hear = (event: MessageEvent<string>) => {
      const news = JSON.parse(event.data) as { device: string };
      changed.add(news.device);
      pause ??= setTimeout(tell, changed.size === 1 && news.device === device ? 100 : PAUSE_MS);
    };
    const open = () => {
      const query = new URLSearchParams({ kinds: KINDS, ...(device && { device }) });
      source = new EventSource(`/api/v1/events?${query.toString()}`);
      source.onopen = () => {
        setLive({ state: "live" });
        // What was missed while nobody listened.
        if (missed) void queries.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] !== "me" });
      };
      source.onerror = () => {
        const closed = source?.readyState === EventSource.CLOSED;
        missed = true;
        setLive((was) => ({ state: "broken", since: was.state === "live" ? Date.now() : was.since }));
        if (closed) void ended();
      };
      for (const kind of OF_ONE_BOX) source.addEventListener(kind, hear as EventListener);
    };
    /** A browser does not come back to a server that refused it: it is asked why. */
    const ended = async () => {
      source?.close();
      const status = await api.GET("/api/v1/me").then(
        ({ response }) => response.status,
        () => 0,
      );
      if (over) return;
      if (status === 401) onSignedOut();
      else again = setTimeout(open, 3000);
    };
    open();
    return () => {
      over = true;
      clearTimeout(pause);
      clearTimeout(again);
      source?.close();
    };
  }, [queries, device, onSignedOut]);

  return <LiveContext value={{ live, watch }}>{children}</LiveContext>;
}
