// Releases on their way through the fleet: the rings of one with what became of its offers, why it is where it is, and what a person
// may say to it.
import { Group, Stack, Table, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslations } from "use-intl";
import { api, ask, type Schemas } from "../api/client";
import { useChange } from "../kit/change";
import { Dialog, Form, Sure } from "../kit/dialog";
import { ScreenLink } from "../kit/link";
import { Facts, Line, Lines, Panel, Scroll } from "../kit/parts";
import { Answered, Nothing, Screen } from "../kit/screen";
import { Status, type Tone } from "../kit/status";
import { useBytes, useMoment } from "../kit/words";

const KEY = ["rollouts"];
/** Boxes report all the time; what a rollout does is decided every few seconds. */
const EVERY = 5_000;

export function Rollouts() {
  const t = useTranslations("rollouts");
  const { id } = useSearch({ from: "/inside/rollouts" });
  const asked = useQuery({
    queryKey: KEY,
    queryFn: async ({ signal }) => (await ask(api.GET("/api/v1/rollouts", { signal }))).items,
    refetchInterval: EVERY,
  });
  return (
    <Screen title={t("title")} actions={<Dialog label={t("begin")}>{(close) => <Begin done={close} />}</Dialog>}>
      <Answered asked={asked}>
        {(items) => {
          const shown = items.find((item) => item.id === id) ?? items[0];
          if (!shown) return <Nothing title={t("none")}>{t("noneText")}</Nothing>;
          const others = items.filter((item) => item.id !== shown.id);
          return (
            <>
              <One key={shown.id} id={shown.id} />
              {others.length > 0 && <Others items={others} />}
            </>
          );
        }}
      </Answered>
    </Screen>
  );
}

function Others({ items }: { items: readonly Schemas["RolloutInShort"][] }) {
  const t = useTranslations("rollouts");
  const moment = useMoment();
  return (
    <Panel title={t("others")}>
      <Lines>
        {items.map((item) => (
          <Line key={item.id}>
            <ScreenLink to="/rollouts" search={{ id: item.id }}>
              {item.release}
            </ScreenLink>
            <Text size="sm" c="dimmed">
              {t("begun", { time: moment(item.made_ms), who: item.made_by })}
            </Text>
          </Line>
        ))}
      </Lines>
    </Panel>
  );
}

const TONES: Record<Schemas["RolloutState"], Tone> = {
  running: "neutral",
  paused: "warn",
  halted: "bad",
  finished: "good",
  superseded: "neutral",
};

function One({ id }: { id: string }) {
  const t = useTranslations("rollouts");
  const moment = useMoment();
  const asked = useQuery({
    queryKey: [...KEY, id],
    queryFn: ({ signal }) => ask(api.GET("/api/v1/rollouts/{id}", { signal, params: { path: { id } } })),
    refetchInterval: EVERY,
  });
  return (
    <Answered asked={asked}>
      {(rollout) => (
        <Panel title={t("of", { release: rollout.release })} actions={<Changes rollout={rollout} />}>
          <Facts
            facts={[
              [
                t("state"),
                <Status key="state" tone={TONES[rollout.state]}>
                  {t(`states.${rollout.state}`)}
                </Status>,
              ],
              [t("made"), t("begun", { time: moment(rollout.made_ms), who: rollout.made_by })],
              [t("recalled"), rollout.recall != null && <Recall rollout={rollout} recall={rollout.recall} />],
              [t("because"), rollout.because.length > 0 && <Because because={rollout.because} />],
            ]}
          />
          <Rings rollout={rollout} />
        </Panel>
      )}
    </Answered>
  );
}

/** In the words of whoever decided it: the numbers are its evidence. */
function Because({ because }: { because: readonly string[] }) {
  return (
    <Stack gap={0} lang="en">
      {because.map((reason) => (
        <Text size="sm" key={reason}>
          {reason}
        </Text>
      ))}
    </Stack>
  );
}

/** How far the way back is. */
function Recall({ rollout, recall }: { rollout: Schemas["Rollout"]; recall: Schemas["RecallProgress"] }) {
  const t = useTranslations("rollouts");
  const moment = useMoment();
  const since = rollout.recalled_ms != null ? moment(rollout.recalled_ms) : "";
  return t("recall", { ...recall, time: since, who: rollout.recalled_by ?? "" });
}

function Rings({ rollout }: { rollout: Schemas["Rollout"] }) {
  const t = useTranslations("rollouts");
  const moment = useMoment();
  const columns = ["offered", "waiting", "trying", "passed", "failed", "not_installed"] as const;
  return (
    <Scroll label={t("rings")}>
      <Table>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>{t("ring")}</Table.Th>
            <Table.Th>{t("upTo")}</Table.Th>
            <Table.Th>{t("opened")}</Table.Th>
            <Table.Th>{t("members")}</Table.Th>
            {columns.map((column) => (
              <Table.Th key={column}>{t(column)}</Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {rollout.rings.map((ring, at) => (
            <Table.Tr key={ring.name}>
              <Table.Th scope="row">{ring.name}</Table.Th>
              <Table.Td>{t("percent", { share: ring.up_to / 1_000_000 })}</Table.Td>
              <Table.Td>
                {ring.opened_ms != null ? moment(ring.opened_ms) : <Closed rollout={rollout} ring={ring} at={at} />}
              </Table.Td>
              <Table.Td>{ring.members}</Table.Td>
              {columns.map((column) => (
                <Table.Td key={column}>{ring[column]}</Table.Td>
              ))}
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Scroll>
  );
}

/** A ring that is not open: a person may have to agree to it. */
function Closed({ rollout, ring, at }: { rollout: Schemas["Rollout"]; ring: Schemas["RolloutRing"]; at: number }) {
  const t = useTranslations("rollouts");
  const approving = useSay(rollout.id, { change: "approve", ring: at });
  if (ring.approved == null || isOver(rollout)) return t("closed");
  if (ring.approved) return t("approved");
  return <Sure label={t("approve")} question={t("approveSure", { ring: ring.name })} change={approving} />;
}

function Changes({ rollout }: { rollout: Schemas["Rollout"] }) {
  const t = useTranslations("rollouts");
  const paused = rollout.state === "paused";
  const pausing = useSay(rollout.id, { change: paused ? "resume" : "pause" });
  const halting = useSay(rollout.id, { change: "halt" });
  const rollingBack = useSay(rollout.id, { change: "roll_back" });
  if (rollout.state === "halted" && rollout.recalled_ms == null) {
    const question = t("rollBackSure", { release: rollout.release });
    return <Sure label={t("rollBack")} question={question} change={rollingBack} />;
  }
  if (isOver(rollout)) return null;
  return (
    <Group gap="xs">
      <Sure
        label={t(paused ? "resume" : "pause")}
        question={t(paused ? "resumeSure" : "pauseSure", { release: rollout.release })}
        change={pausing}
      />
      <Sure label={t("halt")} question={t("haltSure", { release: rollout.release })} change={halting} />
    </Group>
  );
}

function isOver(rollout: Schemas["Rollout"]): boolean {
  return rollout.state === "halted" || rollout.state === "superseded";
}

function useSay(id: string, body: Schemas["RolloutChange"]) {
  return useChange(() => ask(api.PATCH("/api/v1/rollouts/{id}", { params: { path: { id } }, body })), { old: [KEY] });
}

function Begin({ done }: { done: () => void }) {
  const t = useTranslations("rollouts");
  const bytes = useBytes();
  const [release, setRelease] = useState("");
  const change = useChange(() => ask(api.POST("/api/v1/rollouts", { body: { release } })), { old: [KEY], done });
  const published = useQuery({
    queryKey: ["releases"],
    queryFn: async ({ signal }) => (await ask(api.GET("/api/v1/releases", { signal }))).items,
  });
  const all = published.data ?? [];
  const chosen = all.filter((one) => one.release === release);
  return (
    <Form onSubmit={() => change.mutate()} busy={change.isPending} error={change.error} submit={t("begin")}>
      <Text size="sm">{t("beginText")}</Text>
      <TextInput
        label={t("release")}
        value={release}
        onChange={(event) => setRelease(event.currentTarget.value)}
        maxLength={64}
        required
        data-autofocus
        list="published"
      />
      <datalist id="published">
        {[...new Set(all.map((one) => one.release))].map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
      {chosen.map((one) => (
        <Text size="sm" key={one.compatible}>
          {t("fits", { compatible: one.compatible, size: bytes(one.bytes) })}
          {one.notes != null && <> · {one.notes}</>}
          {one.from.length > 0 && <> · {t("follows", { from: one.from.join(", ") })}</>}
        </Text>
      ))}
    </Form>
  );
}
