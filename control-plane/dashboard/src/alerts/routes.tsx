// Who is told of alerts, how, and whether it arrives.
import { Button, Checkbox, Group, NativeSelect, Stack, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslations } from "use-intl";
import { api, ask, type Schemas } from "../api/client";
import { useMay, useTree } from "../api/queries";
import { useChange, WentWrong } from "../kit/change";
import { Dialog, Form, Sure } from "../kit/dialog";
import { Line, Lines, Panel, Secret } from "../kit/parts";
import { Answered, Nothing } from "../kit/screen";
import { Status } from "../kit/status";
import { useAgo } from "../kit/words";
import { ruleOf, RULES } from "./rules";

const KEY = ["fleet", "routes"];
type Kind = Schemas["Kind"];
const KINDS: readonly Kind[] = ["email", "webhook", "slack"];

export function Routes() {
  const t = useTranslations("alerts");
  const tree = useTree();
  const may = useMay();
  const [secret, setSecret] = useState<string>();
  const asked = useQuery({
    queryKey: KEY,
    queryFn: async ({ signal }) => (await ask(api.GET("/api/v1/alert-routes", { signal }))).items,
  });
  return (
    <Panel
      title={t("routes")}
      actions={
        tree.nodes.some((node) => may(node.id, "admin")) && (
          <Dialog label={t("addRoute")} button={{ size: "xs" }}>
            {(close) => (
              <NewRoute
                done={(made) => {
                  setSecret(made ?? undefined);
                  close();
                }}
              />
            )}
          </Dialog>
        )
      }
    >
      {secret && <Secret title={t("secret")} value={secret} />}
      <Answered asked={asked}>
        {(items) =>
          items.length === 0 ? (
            <Nothing title={t("noRoutes")} />
          ) : (
            <Lines>
              {items.map((route) => (
                <Line key={route.id}>
                  <OneRoute route={route} />
                </Line>
              ))}
            </Lines>
          )
        }
      </Answered>
    </Panel>
  );
}

function OneRoute({ route }: { route: Schemas["AlertRoute"] }) {
  const t = useTranslations();
  const tree = useTree();
  const may = useMay();
  const ago = useAgo();
  const path = { params: { path: { route: route.id } } };
  const ending = useChange(() => ask(api.DELETE("/api/v1/alert-routes/{route}", path)), { old: [KEY] });
  const testing = useChange(() => ask(api.POST("/api/v1/alert-routes/{route}/test", path)), { old: [KEY] });
  const channel = KINDS.find((kind) => kind === route.channel) ?? "webhook";
  const rules =
    route.rules.length === 0
      ? t("alerts.anyRule")
      : route.rules.map((rule) => t(`alerts.rules.${ruleOf(rule)}`)).join(", ");
  return (
    <Stack gap={4}>
      <Group justify="space-between">
        <Text>
          {t(`alerts.channels.${channel}`)}: {route.target}
        </Text>
        {may(route.node, "admin") && (
          <Group gap="xs">
            <Button size="xs" variant="default" onClick={() => testing.mutate()} loading={testing.isPending}>
              {t("alerts.test")}
            </Button>
            <Sure label={t("common.remove")} question={route.target} change={ending} />
          </Group>
        )}
      </Group>
      <Text size="sm" c="dimmed">
        {tree.name(route.node)} · {rules} · {t("alerts.waitingCount", { count: route.waiting })}
        {route.told_ms != null && (
          <>
            {" · "}
            {t("alerts.told", { time: ago(route.told_ms) })}
          </>
        )}
      </Text>
      {route.failing_ms != null && (
        <Status tone="bad">{t("alerts.failing", { time: ago(route.failing_ms), error: route.error ?? "" })}</Status>
      )}
      {testing.isSuccess && (
        <span role="status">
          <Status tone="good">{t("alerts.tested")}</Status>
        </span>
      )}
      <WentWrong error={testing.error} />
    </Stack>
  );
}

function NewRoute({ done }: { done: (secret: string | null | undefined) => void }) {
  const t = useTranslations("alerts");
  const tree = useTree();
  const may = useMay();
  const places = tree.nodes.filter((node) => may(node.id, "admin"));
  const [node, setNode] = useState(places[0]?.id ?? "");
  const [channel, setChannel] = useState<Kind>("email");
  const [target, setTarget] = useState("");
  const [rules, setRules] = useState<string[]>([]);
  const change = useChange(
    () => {
      const only = RULES.filter((rule) => rules.includes(rule));
      return ask(api.POST("/api/v1/alert-routes", { body: { node, channel, target, rules: only } }));
    },
    { old: [KEY], done: (made) => done(made.secret) },
  );
  return (
    <Form onSubmit={() => change.mutate()} busy={change.isPending} error={change.error} submit={t("addRoute")}>
      <NativeSelect
        label={t("of")}
        value={node}
        onChange={(event) => setNode(event.currentTarget.value)}
        data={places.map((node) => ({ value: node.id, label: tree.name(node.id) }))}
      />
      <NativeSelect
        label={t("channel")}
        value={channel}
        onChange={({ currentTarget: { value } }) => setChannel(KINDS.find((kind) => kind === value) ?? "email")}
        data={KINDS.map((kind) => ({ value: kind, label: t(`channels.${kind}`) }))}
      />
      <TextInput
        label={t("target")}
        type={channel === "email" ? "email" : "url"}
        value={target}
        onChange={(event) => setTarget(event.currentTarget.value)}
        required
      />
      <Checkbox.Group label={t("onlyRules")} value={rules} onChange={setRules}>
        <Stack gap={6} mt={6}>
          {RULES.map((rule) => (
            <Checkbox key={rule} value={rule} label={t(`rules.${rule}`)} />
          ))}
        </Stack>
      </Checkbox.Group>
    </Form>
  );
}
