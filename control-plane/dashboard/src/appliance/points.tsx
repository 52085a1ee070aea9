// Recovery points of a box, the newest first, and on a line of time: a gap is seen before it is read.
import { Stack, Text } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useTranslations } from "use-intl";
import { ScreenLink } from "../kit/link";
import type { Appliance, Schemas } from "../api/client";
import { points } from "../api/queries";
import { Line, Lines, More, Panel } from "../kit/parts";
import { Answered, Nothing } from "../kit/screen";
import { Status, type Tone } from "../kit/status";
import { Ago, useBytes, useMoment } from "../kit/words";
import { place } from "./timeline";

export const STATES = ["complete", "partial", "torn", "live"] as const;
export function stateOf(state: string): (typeof STATES)[number] | "unknown" {
  return STATES.find((known) => known === state) ?? "unknown";
}
const TONES: Record<ReturnType<typeof stateOf>, Tone> = {
  complete: "good",
  partial: "warn",
  torn: "bad",
  live: "warn",
  unknown: "neutral",
};

export function PointState({ state }: { state: string }) {
  const t = useTranslations("point.states");
  return <Status tone={TONES[stateOf(state)]}>{t(stateOf(state))}</Status>;
}

export default function Points({ box }: { box: Appliance }) {
  const t = useTranslations();
  const bytes = useBytes();
  const asked = useInfiniteQuery(points(box.id));
  const disk = (id: string | null | undefined) => box.disks.find((disk) => disk.id === id)?.identity?.model ?? id;
  return (
    <Answered asked={asked}>
      {({ pages }) => {
        const all = pages.flatMap((page) => page.items);
        if (all.length === 0) return <Nothing title={t("box.noPoints")} />;
        return (
          <Stack gap="md">
            <Timeline points={all} />
            <Panel>
              <Lines>
                {all.map((point) => (
                  <Line key={point.snapshot}>
                    <Stack gap={2}>
                      <ScreenLink
                        to="/appliances/$id/points/$snapshot"
                        params={{ id: box.id, snapshot: point.snapshot }}
                        fw={500}
                      >
                        <Taken at={point.taken_ms} />
                      </ScreenLink>
                      <Text size="sm" c="dimmed">
                        {disk(point.disk)} · <Ago at={point.taken_ms} />
                        {point.summary && ` · ${t("point.fresh")}: ${bytes(point.summary.bytes_new)}`}
                      </Text>
                    </Stack>
                    <PointState state={point.state} />
                  </Line>
                ))}
              </Lines>
              <More list={asked} />
            </Panel>
          </Stack>
        );
      }}
    </Answered>
  );
}

function Taken({ at }: { at: number }) {
  const moment = useMoment();
  return <>{moment(at)}</>;
}

/** Decoration: the list below says the same. */
function Timeline({ points }: { points: readonly Schemas["RecoveryPoint"][] }) {
  const marks = place(
    points.map((point) => point.taken_ms),
    1000,
  );
  return (
    <svg viewBox="0 0 1000 28" width="100%" height="28" preserveAspectRatio="none" aria-hidden>
      <line x1="0" x2="1000" y1="14" y2="14" stroke="var(--mantine-color-default-border)" strokeWidth="2" />
      {marks.map((x, at) => (
        <rect
          key={points[at]?.snapshot}
          x={Math.min(x, 994)}
          y="4"
          width="5"
          height="20"
          rx="2"
          fill={points[at]?.state === "complete" ? "light-dark(#2b8a3e, #69db7c)" : "light-dark(#b35c00, #ffc078)"}
        />
      ))}
    </svg>
  );
}
