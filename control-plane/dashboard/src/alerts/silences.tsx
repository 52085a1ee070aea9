// What nobody is told of for a while, why, and until when.
import { Group, NativeSelect, Stack, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslations } from "use-intl";
import { api, ask, type Schemas } from "../api/client";
import { useMay, useTree } from "../api/queries";
import { useChange } from "../kit/change";
import { Dialog, Form, Sure } from "../kit/dialog";
import { Line, Lines, Panel } from "../kit/parts";
import { Answered, Nothing } from "../kit/screen";
import { useMoment } from "../kit/words";
import { ruleOf, RULES } from "./rules";

const KEY = ["fleet", "silences"];
const HOURS = [1, 4, 24, 168] as const;

export function Silences() {
  const t = useTranslations("alerts");
  const tree = useTree();
  const may = useMay();
  const asked = useQuery({
    queryKey: KEY,
    queryFn: async ({ signal }) => (await ask(api.GET("/api/v1/silences", { signal }))).items,
  });
  const places = tree.nodes.filter((node) => may(node.id, "operator"));
  return (
    <Panel
      title={t("silences")}
      actions={
        places[0] && (
          <Dialog label={t("addSilence")} button={{ size: "xs" }}>
            {(close) => <SilenceForm done={close} />}
          </Dialog>
        )
      }
    >
      <Answered asked={asked}>
        {(items) =>
          items.length === 0 ? (
            <Nothing title={t("noSilences")} />
          ) : (
            <Lines>
              {items.map((silence) => (
                <Line key={silence.id}>
                  <OneSilence silence={silence} />
                </Line>
              ))}
            </Lines>
          )
        }
      </Answered>
    </Panel>
  );
}

function OneSilence({ silence }: { silence: Schemas["Silence"] }) {
  const t = useTranslations();
  const tree = useTree();
  const may = useMay();
  const moment = useMoment();
  const ending = useChange(
    () => ask(api.DELETE("/api/v1/silences/{silence}", { params: { path: { silence: silence.id } } })),
    { old: [KEY, ["fleet", "alerts"]] },
  );
  return (
    <Group justify="space-between">
      <Stack gap={0}>
        <Text>{silence.reason}</Text>
        <Text size="sm" c="dimmed">
          {tree.name(silence.node)}
          {silence.rule && ` · ${t(`alerts.rules.${ruleOf(silence.rule)}`)}`} ·{" "}
          {t("alerts.silenced", { time: moment(silence.until_ms) })} · {t("alerts.madeBy", { who: silence.made_by })}
        </Text>
      </Stack>
      {may(silence.node, "operator") && <Sure label={t("common.end")} question={silence.reason} change={ending} />}
    </Group>
  );
}

export function SilenceForm({
  node: given,
  device,
  rule: givenRule,
  done,
}: {
  node?: string;
  device?: string | null | undefined;
  rule?: string;
  done: () => void;
}) {
  const t = useTranslations("alerts");
  const common = useTranslations("common");
  const tree = useTree();
  const may = useMay();
  const places = tree.nodes.filter((node) => may(node.id, "operator"));
  const [node, setNode] = useState(given ?? places[0]?.id ?? "");
  const [rule, setRule] = useState(givenRule ?? "");
  const [hours, setHours] = useState("24");
  const [reason, setReason] = useState("");
  const change = useChange(
    () => {
      const known = RULES.find((known) => known === rule);
      const until_ms = Date.now() + Number(hours) * 3_600_000;
      const body = { node, reason, until_ms, ...(known && { rule: known }), ...(device && { device }) };
      return ask(api.POST("/api/v1/silences", { body }));
    },
    { old: [KEY, ["fleet", "alerts"]], done },
  );
  return (
    <Form onSubmit={() => change.mutate()} busy={change.isPending} error={change.error} submit={t("silence")}>
      {!device && (
        <NativeSelect
          label={common("where")}
          value={node}
          onChange={(event) => setNode(event.currentTarget.value)}
          data={places.map((node) => ({ value: node.id, label: tree.name(node.id) }))}
        />
      )}
      <NativeSelect
        label={t("onlyRules")}
        value={rule}
        onChange={(event) => setRule(event.currentTarget.value)}
        data={[
          { value: "", label: t("anyRule") },
          ...RULES.map((rule) => ({ value: rule, label: t(`rules.${rule}`) })),
        ]}
      />
      <NativeSelect
        label={t("hours")}
        value={hours}
        onChange={(event) => setHours(event.currentTarget.value)}
        data={HOURS.map((count) => ({ value: String(count), label: count === 168 ? t("week") : t("hour", { count }) }))}
      />
      <TextInput
        label={t("reason")}
        value={reason}
        onChange={(event) => setReason(event.currentTarget.value)}
        maxLength={200}
        required
        data-autofocus
      />
    </Form>
  );
}
