// What one looks at first: what runs, the disks, the room for backups, what the box is.
import { Group, Progress, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useTranslations } from "use-intl";
import type { Appliance, Schemas } from "../api/client";
import { releaseOf, reported } from "../api/queries";
import { Facts, Panel } from "../kit/parts";
import { Status } from "../kit/status";
import { Ago, useBytes, useMoment, useSpan } from "../kit/words";
import { DiskPanel } from "./disk";

export function Overview({ box }: { box: Appliance }) {
  const t = useTranslations("box");
  return (
    <Stack gap="md">
      <Running box={box} />
      {box.disks.length === 0 && (
        <Panel title={t("disks")}>
          <Text size="sm">{t("noDisks")}</Text>
        </Panel>
      )}
      {box.disks
        .toSorted((one, other) => Number(Boolean(one.gone_ms)) - Number(Boolean(other.gone_ms)))
        .map((disk) => (
          <DiskPanel key={disk.id} disk={disk} box={box.id} />
        ))}
      {box.stores.length > 0 && <Stores stores={box.stores} />}
      <Identity box={box} />
    </Stack>
  );
}

function Running({ box }: { box: Appliance }) {
  const t = useTranslations();
  const bytes = useBytes();
  const span = useSpan();
  const beat = box.heartbeat;
  const job = beat?.job;
  return (
    <Panel title={t("box.running")}>
      {job ? (
        <Stack gap={4} data-testid="running">
          <Group justify="space-between">
            <Text>{t(`work.${job.work}`)}</Text>
            <Text size="sm" c="dimmed">
              {[
                `${String(job.percent)} %`,
                ...(job.rate_bytes_s == null ? [] : [t("box.rate", { size: bytes(job.rate_bytes_s) })]),
                ...(job.left_s == null ? [] : [t("box.left", { time: span(job.left_s) })]),
              ].join(" · ")}
            </Text>
          </Group>
          <Progress value={job.percent} aria-label={t("box.progress", { work: t(`work.${job.work}`) })} animated />
        </Stack>
      ) : (
        <Text size="sm" c="dimmed">
          {t("box.idle")}
        </Text>
      )}
      {beat && beat.queued > 0 && <Text size="sm">{t("box.queued", { count: beat.queued })}</Text>}
    </Panel>
  );
}

function Stores({ stores }: { stores: readonly Schemas["Room"][] }) {
  const t = useTranslations("box");
  const bytes = useBytes();
  return (
    <Panel title={t("stores")}>
      {stores.map((store) => {
        const used = store.size_bytes === 0 ? 0 : (100 * (store.size_bytes - store.free_bytes)) / store.size_bytes;
        const name = store.disk ? t("storeDisk", { disk: store.disk }) : t("own");
        return (
          <Stack gap={4} key={store.disk ?? ""}>
            <Group justify="space-between">
              <Text>{name}</Text>
              <Text size="sm" c="dimmed">
                {t("freeOf", { free: bytes(store.free_bytes), size: bytes(store.size_bytes) })}
              </Text>
            </Group>
            <Progress value={used} aria-label={name} color={store.level === "roomy" ? "blue.8" : "red.8"} />
            {store.full_ms != null && (
              <Text size="sm">
                <Full at={store.full_ms} />
                {store.holds_days != null && ` · ${t("holdsDays", { count: store.holds_days })}`}
              </Text>
            )}
          </Stack>
        );
      })}
    </Panel>
  );
}

function Full({ at }: { at: number }) {
  const t = useTranslations("box");
  const moment = useMoment();
  return <>{t("full", { time: moment(at) })}</>;
}

function Identity({ box }: { box: Appliance }) {
  const t = useTranslations("box");
  const bytes = useBytes();
  const span = useSpan();
  const moment = useMoment();
  const said = useQuery(reported(box.id)).data?.reported;
  const slot = said?.firmware.slot;
  const update = said?.firmware.update;
  const rollout = useQuery(releaseOf(box.id)).data?.rollout;
  const standing = rollout
    ? {
        release: rollout.release,
        ring: rollout.ring ?? "",
        through: rollout.through ?? "",
        time: rollout.at_ms == null ? "" : moment(rollout.at_ms),
      }
    : undefined;
  return (
    <Panel title={t("identity")}>
      <Facts
        facts={[
          [t("id"), box.id],
          [t("model"), said?.hardware.model],
          [t("serial"), said?.hardware.serial],
          [t("memory"), said && bytes(said.hardware.memory_bytes)],
          [t("firmware"), box.firmware],
          [t("slot"), slot && t(`slots.${slot}`)],
          [t("update"), update && t("updateTo", { release: update.release, state: t(`updates.${update.state}`) })],
          [t("release"), rollout && t(`releases.${rollout.why}`, standing)],
          [t("uptime"), box.heartbeat && span(box.heartbeat.uptime_ms / 1000)],
          [t("busy"), percent(box.heartbeat?.busy_percent)],
          [t("memoryUsed"), percent(box.heartbeat?.memory_used_percent)],
          [t("board"), box.heartbeat?.board_c != null && t("temperature", { celsius: box.heartbeat.board_c })],
          [t("enrolled"), moment(box.enrolled_ms)],
          [t("certificate"), moment(box.certificate_until_ms)],
          [t("goneWhy"), box.gone_why && box.presence !== "online" && gone(t, box.gone_why)],
        ]}
      />
      {said?.errors?.shown.map((error) => (
        <Status tone="warn" key={`${error.section} ${error.text}`}>
          {t("errors")}: {error.text}
        </Status>
      ))}
      {update?.reason && (
        <Status tone="warn">
          {t(`updateFailures.${update.reason}`)}
          {update.text && `: ${update.text}`}
        </Status>
      )}
      {!said && (
        <Text size="sm" c="dimmed">
          {t("notYet")}
        </Text>
      )}
      {box.heard_ms && (
        <Text size="sm" c="dimmed">
          {t("heard")}: <Ago at={box.heard_ms} />
        </Text>
      )}
    </Panel>
  );
}

const percent = (value: number | null | undefined) => value != null && `${String(value)} %`;

const WHYS = ["lwt", "stop", "reboot", "update"] as const;
function gone(t: ReturnType<typeof useTranslations<"box">>, why: string): string {
  return t(`gone.${WHYS.find((known) => known === why) ?? "unknown"}`);
}
