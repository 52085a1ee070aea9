// A list that may be endless, page by page: only pages on the screen are held, so that memory stays flat however far one scrolls.
import { keepPreviousData, useQueries } from "@tanstack/react-query";
import { useState } from "react";
import { api, ask, type Appliance } from "../api/client";
import { asQuery, type FleetSearch } from "./search";

export const PAGE = 100;

export interface Pages {
  /** Rows that are known to be there, and one more where the next page begins. */
  count: number;
  ended: boolean;
  row: (at: number) => Appliance | undefined;
  error: Error | null;
  loaded: boolean;
  again: () => void;
}

interface Places {
  of: string;
  cursors: readonly (string | undefined)[];
  rest: number;
  ended: boolean;
}
const NOWHERE: Places = { of: "", cursors: [undefined], rest: 0, ended: false };

/** `first` and `last`: the rows that are on the screen. */
export function usePages(search: FleetSearch, first: number, last: number): Pages {
  // Where each page begins; a page tells where the next one does. `rest`: rows of the last page that is known.
  const [places, setPlaces] = useState<Places>(NOWHERE);
  const of = JSON.stringify(search);
  const known = places.of === of ? places : { ...NOWHERE, of };
  const from = Math.min(Math.floor(first / PAGE), known.cursors.length - 1);
  const to = Math.min(Math.floor(last / PAGE), known.cursors.length - 1);
  const wanted = Array.from({ length: to - from + 1 }, (_, at) => from + at);
  const answers = useQueries({
    queries: wanted.map((page) => ({
      queryKey: ["fleet", "page", of, known.cursors[page] ?? ""],
      queryFn: ({ signal }: { signal: AbortSignal }) =>
        ask(api.GET("/api/v1/appliances", { signal, params: { query: asQuery(search, known.cursors[page]) } })),
      gcTime: 10_000,
      ...(page === 0 && { placeholderData: keepPreviousData }),
    })),
  });
  const newest = answers.at(-1);
  if (newest?.data && !newest.isPlaceholderData && to === known.cursors.length - 1) {
    const { items, next } = newest.data;
    const cursors = next ? [...known.cursors, next] : known.cursors;
    const now = { of, cursors, rest: next ? 0 : items.length, ended: !next };
    if (
      places.of !== of ||
      cursors.length !== places.cursors.length ||
      now.rest !== places.rest ||
      now.ended !== places.ended
    ) {
      setPlaces(now);
    }
  }
  const placeholder = answers[0]?.isPlaceholderData === true ? answers[0].data.items.length : undefined;
  return {
    count: placeholder ?? (known.cursors.length - 1) * PAGE + (known.ended ? known.rest : 1),
    ended: known.ended,
    row: (at) => answers[Math.floor(at / PAGE) - from]?.data?.items[at % PAGE],
    error: answers.find((answer) => answer.error)?.error ?? null,
    loaded: answers.some((answer) => answer.data !== undefined),
    again: () => answers.forEach((answer) => void answer.refetch()),
  };
}
