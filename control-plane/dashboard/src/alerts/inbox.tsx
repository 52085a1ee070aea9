// Alerts that are open, the gravest first; each can be acknowledged and silenced where it is read.
import { Button, Checkbox, Group, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslations } from "use-intl";
import { ScreenLink } from "../kit/link";
import { api, ask, type Schemas } from "../api/client";
import { alerts, useMay, useTree } from "../api/queries";
import { useChange, WentWrong } from "../kit/change";
import { Dialog } from "../kit/dialog";
import { Line, Lines, Panel } from "../kit/parts";
import { Answered, Nothing } from "../kit/screen";
import { Status } from "../kit/status";
import { Ago, useMoment } from "../kit/words";
import { ruleOf, RULES, weight } from "./rules";
import { SilenceForm } from "./silences";

type Alert = Schemas["Alert"];

export function Inbox() {
  const t = useTranslations("alerts");
  const asked = useQuery(alerts);
  const [showEnded, setShowEnded] = useState(false);
  return (
    <Stack gap="md">
      <Answered asked={asked}>
        {(all) => {
          const open = all
            .filter((alert) => alert.ended_ms == null)
            .toSorted((one, other) => weight(one.rule) - weight(other.rule) || other.raised_ms - one.raised_ms);
          const ended = all.filter((alert) => alert.ended_ms != null);
          return (
            <>
              {open.length === 0 ? (
                <Nothing title={t("none")}>
                  <Text size="sm">{t("noneText")}</Text>
                </Nothing>
              ) : (
                <List alerts={open} label={t("inbox")} />
              )}
              {ended.length > 0 && (
                <Checkbox
                  label={t("showEnded")}
                  checked={showEnded}
                  onChange={(event) => setShowEnded(event.currentTarget.checked)}
                />
              )}
              {showEnded && <List alerts={ended} label={t("ended")} />}
            </>
          );
        }}
      </Answered>
      <details>
        <summary>{t("ruleText")}</summary>
        <Stack gap="xs" mt="sm">
          {RULES.map((rule) => (
            <Text size="sm" key={rule}>
              <b>{t(`rules.${rule}`)}</b>: {t(`ruleTexts.${rule}`)}
            </Text>
          ))}
        </Stack>
      </details>
    </Stack>
  );
}

function List({ alerts, label }: { alerts: readonly Alert[]; label: string }) {
  return (
    <Panel title={label}>
      <Lines>
        {alerts.slice(0, 200).map((alert) => (
          <Line key={alert.id}>
            <OneAlert alert={alert} />
          </Line>
        ))}
      </Lines>
    </Panel>
  );
}

function OneAlert({ alert }: { alert: Alert }) {
  const t = useTranslations();
  const tree = useTree();
  const may = useMay();
  const moment = useMoment();
  const acknowledging = useChange(
    () => ask(api.POST("/api/v1/alerts/{alert}/acknowledge", { params: { path: { alert: alert.id } } })),
    { old: [["fleet", "alerts"]] },
  );
  const open = alert.ended_ms == null;
  const rule = ruleOf(alert.rule);
  return (
    <Stack gap={4} data-testid="alert">
      <Group gap="sm">
        <Status tone={!open ? "neutral" : weight(rule) < 3 ? "bad" : "warn"}>{t(`alerts.rules.${rule}`)}</Status>
        <Text size="sm" c="dimmed">
          <Ago at={alert.ended_ms ?? alert.raised_ms} />
        </Text>
      </Group>
      <Text size="sm">{alert.detail}</Text>
      <Group gap="sm">
        <Text size="sm" c="dimmed">
          {tree.name(alert.site)}
        </Text>
        {alert.device && (
          <ScreenLink to="/appliances/$id" params={{ id: alert.device }} size="sm">
            {t("enrol.open")}
          </ScreenLink>
        )}
        {alert.acknowledged_by && <Text size="sm">{t("alerts.acknowledgedBy", { who: alert.acknowledged_by })}</Text>}
        {alert.silenced_until_ms != null && (
          <Text size="sm">{t("alerts.silenced", { time: moment(alert.silenced_until_ms) })}</Text>
        )}
      </Group>
      {open && may(alert.site, "operator") && (
        <Group gap="xs">
          {!alert.acknowledged_by && (
            <Button
              size="xs"
              variant="default"
              onClick={() => acknowledging.mutate()}
              loading={acknowledging.isPending}
            >
              {t("alerts.acknowledge")}
            </Button>
          )}
          {alert.silenced_until_ms == null && (
            <Dialog label={t("alerts.silence")} button={{ size: "xs", variant: "default" }}>
              {(close) => <SilenceForm node={alert.site} device={alert.device} rule={rule} done={close} />}
            </Dialog>
          )}
        </Group>
      )}
      <WentWrong error={acknowledging.error} />
    </Stack>
  );
}
