// Times, sizes and spans as a person reads them, in the person's language.
import { useFormatter, useLocale, useNow } from "use-intl";
import { formatBytes, formatSpan } from "./bytes";

export function useBytes(): (bytes: number) => string {
  const locale = useLocale();
  return (bytes) => formatBytes(bytes, locale);
}

export function useSpan(): (seconds: number) => string {
  const locale = useLocale();
  return (seconds) => formatSpan(seconds, locale);
}

/** `5 minutes ago`; goes on by itself. */
export function useAgo(): (at: number) => string {
  const format = useFormatter();
  const now = useNow({ updateInterval: 10_000 });
  // A clock that is a moment behind the server's would say "in 2 seconds" of what is over.
  return (at) => format.relativeTime(at, Math.abs(at - now.getTime()) < 5000 ? at : now);
}

export function useMoment(): (at: number) => string {
  const format = useFormatter();
  return (at) => format.dateTime(at, { dateStyle: "medium", timeStyle: "short" });
}

export function Ago({ at }: { at: number }) {
  const ago = useAgo();
  const moment = useMoment();
  return (
    <time dateTime={new Date(at).toISOString()} title={moment(at)}>
      {ago(at)}
    </time>
  );
}
