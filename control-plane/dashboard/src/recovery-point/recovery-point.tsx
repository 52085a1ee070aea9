// A recovery point: whether somebody could open it at all, what it holds, what proves it, what is missing in it; and a restore of it.
import { Alert, Breadcrumbs, Group, Stack, Text } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useEffect } from "react";
import { useTranslations } from "use-intl";
import { ScreenLink } from "../kit/link";
import { ApiError, type Appliance, type Schemas } from "../api/client";
import { useWatch } from "../api/live";
import { appliance, jobs, points, useMay } from "../api/queries";
import { PointState } from "../appliance/points";
import { Facts, Line, Lines, Panel } from "../kit/parts";
import { Failed, Screen, Waiting } from "../kit/screen";
import { Status } from "../kit/status";
import { Ago, useBytes, useMoment } from "../kit/words";
import { newestProofs, type Proof } from "./proofs";
import { Restore } from "./restore";

const route = getRouteApi("/inside/appliances/$id/points/$snapshot");

export function RecoveryPoint() {
  const { id, snapshot } = route.useParams();
  useWatch(id);
  const box = useQuery(appliance(id));
  const all = useInfiniteQuery(points(id));
  const point = all.data?.pages.flatMap((page) => page.items).find((point) => point.snapshot === snapshot);
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = all;
  // Old ones are further down the list.
  useEffect(() => {
    if (!point && hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [point, hasNextPage, isFetchingNextPage, fetchNextPage]);
  const t = useTranslations("point");
  if (box.data && point) return <Point box={box.data} point={point} />;
  const missing = all.data && !point && !hasNextPage ? new ApiError(404, undefined) : null;
  const error = missing ?? all.error ?? box.error;
  return (
    <Screen title={t("title")}>
      {error ? <Failed error={error} again={() => void all.refetch()} /> : <Waiting />}
    </Screen>
  );
}

function Point({ box, point }: { box: Appliance; point: Schemas["RecoveryPoint"] }) {
  const t = useTranslations();
  const bytes = useBytes();
  const moment = useMoment();
  const may = useMay();
  const disk = box.disks.find((disk) => disk.id === point.disk);
  const summary = point.summary;
  return (
    <Screen title={`${t("point.title")}, ${moment(point.taken_ms)}`}>
      <Breadcrumbs mt={-16} separator="›">
        <ScreenLink to="/appliances/$id" params={{ id: box.id }} size="sm">
          {box.name}
        </ScreenLink>
        <ScreenLink to="/appliances/$id" params={{ id: box.id }} search={{ tab: "recovery" }} size="sm">
          {t("box.recovery")}
        </ScreenLink>
      </Breadcrumbs>
      {!box.recoverable && (
        <Alert color="red" title={t("box.notRecoverable")} role="alert">
          {t("box.notRecoverableText")}
        </Alert>
      )}
      <Group gap="sm">
        <PointState state={point.state} />
        <Text size="sm" c="dimmed">
          {disk?.identity?.model ?? point.disk} · <Ago at={point.taken_ms} />
        </Text>
      </Group>
      <Panel title={t("point.holds")}>
        {summary ? (
          <Facts
            facts={[
              [t("point.read"), bytes(summary.bytes_read)],
              [t("point.fresh"), bytes(summary.bytes_new)],
              [t("point.stored"), bytes(summary.bytes_stored)],
              [t("point.leftOut"), summary.left_out_bytes > 0 && bytes(summary.left_out_bytes)],
              [t("point.sequence"), summary.sequence],
              [t("box.id"), point.snapshot],
              [t("point.repository"), summary.repository],
            ]}
          />
        ) : (
          <Text size="sm">{t("common.unknown")}</Text>
        )}
        {disk?.partitions?.shown.map((part) => (
          <Text size="sm" key={part.number}>
            {part.label ?? t("box.partition", { number: part.number })} · {part.filesystem} · {bytes(part.size_bytes)}
          </Text>
        ))}
      </Panel>
      <Proofs box={box.id} point={point} />
      {summary && <Holes summary={summary} />}
      {summary?.notes && summary.notes.shown.length > 0 && (
        <Panel title={t("point.notes")}>
          <Lines>
            {summary.notes.shown.map((note) => (
              <Line key={`${String(note.partition)} ${note.text}`}>
                <Text size="sm">{note.text}</Text>
                <Text size="sm" c="dimmed">
                  {note.filesystem}
                </Text>
              </Line>
            ))}
          </Lines>
        </Panel>
      )}
      {may(box.site, "operator") && !box.revoked_ms && <Restore box={box} point={point} />}
    </Screen>
  );
}

function Proofs({ box, point }: { box: string; point: Schemas["RecoveryPoint"] }) {
  const t = useTranslations("point");
  const asked = useInfiniteQuery(jobs(box));
  const done = asked.data?.pages.flatMap((page) => page.items) ?? [];
  const { verified, restored } = newestProofs(done, point);
  return (
    <Panel title={t("proofs")}>
      {!verified && !restored && <Text size="sm">{t("noProof")}</Text>}
      <Lines>
        {verified && <ProofLine name={t("verified")} proof={verified} />}
        {restored && <ProofLine name={t("restored")} proof={restored} />}
      </Lines>
    </Panel>
  );
}

function ProofLine({ name, proof }: { name: string; proof: Proof }) {
  const t = useTranslations();
  return (
    <Line>
      <Stack gap={0}>
        <Text>
          {name} {t(proof.ofThis ? "point.ofThis" : "point.ofRepository")}
        </Text>
        <Text size="sm" c="dimmed">
          <Ago at={proof.at} />
        </Text>
      </Stack>
      <Status tone={proof.verdict === "clean" ? "good" : "bad"}>{t(`verdict.${proof.verdict}`)}</Status>
    </Line>
  );
}

function Holes({ summary }: { summary: Schemas["BackupSummary"] }) {
  const t = useTranslations("point");
  const bytes = useBytes();
  const { shown = [], more = 0 } = summary.holes ?? {};
  return (
    <Panel title={t("holes")}>
      {shown.length === 0 ? (
        <Text size="sm">{t("noHoles")}</Text>
      ) : (
        <Lines>
          {shown.map((hole) => (
            <Line key={hole.start_bytes}>
              <Text size="sm">{t("hole", { size: bytes(hole.length_bytes), start: bytes(hole.start_bytes) })}</Text>
              <Status tone="warn">{t(`causes.${hole.cause}`)}</Status>
            </Line>
          ))}
        </Lines>
      )}
      {more > 0 && <Text size="sm">{t("more", { count: more })}</Text>}
      {summary.hole_files != null && summary.hole_files > 0 && (
        <Text size="sm">{t("holeFiles", { count: summary.hole_files })}</Text>
      )}
    </Panel>
  );
}
