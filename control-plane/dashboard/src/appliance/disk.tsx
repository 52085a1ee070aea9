// A disk: how it is divided, drawn to scale; its health in plain words; its newest recovery point and what it lacks.
import { Group, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useTranslations } from "use-intl";
import { ScreenLink } from "../kit/link";
import { api, ask, type Disk, type Schemas } from "../api/client";
import { Facts, Panel } from "../kit/parts";
import { Protected, Status, type Tone } from "../kit/status";
import { Ago, useAgo, useBytes, useSpan } from "../kit/words";
import styles from "./disk.module.css";
import { holesIn, usedPercent } from "./layout";

export function DiskPanel({ disk, box }: { disk: Disk; box: string }) {
  const t = useTranslations();
  const ago = useAgo();
  const bytes = useBytes();
  const name = disk.identity?.model ?? disk.identity?.serial ?? disk.id;
  return (
    <Panel
      title={
        <>
          {name} <Text span size="sm" c="dimmed">{`${bytes(disk.size_bytes)} · ${disk.bus.toUpperCase()}`}</Text>
        </>
      }
      actions={
        <Status tone={disk.gone_ms ? "neutral" : "good"}>
          {disk.gone_ms ? t("box.unplugged", { time: ago(disk.gone_ms) }) : t("box.plugged")}
        </Status>
      }
    >
      <Layout disk={disk} box={box} />
      <Group gap="sm">
        <Protected reasons={disk.not_protected} />
        <Text size="sm">
          {t("box.newest")}: {disk.newest_ms ? <Ago at={disk.newest_ms} /> : t("box.noneYet")}
        </Text>
        <ScreenLink to="/appliances/$id" params={{ id: box }} search={{ tab: "recovery" }} size="sm">
          {t("box.recovery")}
        </ScreenLink>
      </Group>
      {disk.not_protected.map((reason) => (
        <Text size="sm" key={reason}>
          {t(`reason.${reason}`)}: {t(`todo.${reason}`)}
        </Text>
      ))}
      <Health health={disk.health ?? undefined} />
      <Facts
        facts={[
          [t("box.serial"), disk.identity?.serial],
          [t("box.id"), disk.id],
        ]}
      />
    </Panel>
  );
}

function Layout({ disk, box }: { disk: Disk; box: string }) {
  const t = useTranslations("box");
  const bytes = useBytes();
  const newest = useQuery({
    queryKey: ["appliance", box, "newest"],
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/appliances/{id}/recovery-points", {
          signal,
          params: { path: { id: box }, query: { limit: 20 } },
        }),
      ),
  }).data?.items.find((point) => point.disk === disk.id);
  const summary = newest?.summary;
  const missing = summary?.hole_bytes ?? 0;
  const holes = summary?.holes?.shown ?? [];
  const parts = disk.partitions?.shown ?? [];
  if (parts.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        {t("noPartitions")}
      </Text>
    );
  }
  const used = parts.reduce((sum, part) => sum + part.size_bytes, 0);
  const size = Math.max(disk.size_bytes, used, 1);
  const name = (part: Schemas["Partition"]) => {
    const full = usedPercent(part, summary);
    return [
      part.label ?? t("partition", { number: part.number }),
      part.filesystem,
      bytes(part.size_bytes),
      ...(full === null ? [] : [t("usedPercent", { percent: Math.round(full) })]),
    ].join(" · ");
  };
  return (
    <Stack gap={4}>
      <div className={styles.bar} role="img" aria-label={`${t("layout")}: ${parts.map(name).join("; ")}`}>
        {parts.map((part) => (
          <div
            key={part.number}
            className={`${styles.part ?? ""} ${/raw|unknown|luks|bitlocker/i.test(part.filesystem) ? (styles.raw ?? "") : ""}`}
            style={{ flexBasis: `${String((100 * part.size_bytes) / size)}%` }}
            title={name(part)}
          >
            <span className={styles.used} style={{ width: `${String(usedPercent(part, summary) ?? 0)}%` }} />
            <span className={styles.name}>{name(part)}</span>
            {holesIn(part, holes).map((hole) => (
              <span
                key={hole.left}
                className={styles.hole}
                style={{ left: `${String(hole.left)}%`, width: `${String(hole.width)}%` }}
              />
            ))}
          </div>
        ))}
        {size - used > size / 100 && (
          <div className={`${styles.part ?? ""} ${styles.rest ?? ""}`}>
            {size - used > size / 8 && `${t("free")} · ${bytes(size - used)}`}
          </div>
        )}
      </div>
      {missing > 0 && <Status tone="warn">{t("holes", { size: bytes(missing) })}</Status>}
    </Stack>
  );
}

const TONES: Record<Schemas["SmartVerdict"], Tone> = {
  healthy: "good",
  watch: "warn",
  failing: "bad",
  silent: "neutral",
  unknown: "neutral",
};

function Health({ health }: { health: Schemas["Smart"] | undefined }) {
  const t = useTranslations("box");
  const span = useSpan();
  if (!health) return null;
  const said = [
    health.reallocated_sectors != null && t("reallocated", { count: health.reallocated_sectors }),
    health.pending_sectors != null && t("pending", { count: health.pending_sectors }),
    health.temperature_c != null && t("temperature", { celsius: health.temperature_c }),
    health.worn_percent != null && t("worn", { percent: health.worn_percent }),
    health.powered_on_h != null && t("poweredOn", { time: span(health.powered_on_h * 3600) }),
  ].filter((part) => part !== false);
  return (
    <Group gap="sm">
      <Status tone={TONES[health.verdict]}>{t(`verdict.${health.verdict}`)}</Status>
      <Text size="sm" c="dimmed">
        {[...(health.reasons?.shown ?? []), ...said].join(" · ")}
      </Text>
    </Group>
  );
}
