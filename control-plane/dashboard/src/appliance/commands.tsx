// What a box was asked to do and what became of it; the logs that it brought.
import { Button, Code, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useTranslations } from "use-intl";
import { api, ask, type Appliance, type Schemas } from "../api/client";
import { commands, logs, useMay } from "../api/queries";
import { useChange, WentWrong } from "../kit/change";
import { Dialog } from "../kit/dialog";
import { Line, Lines, Panel } from "../kit/parts";
import { Answered } from "../kit/screen";
import { Ago, useBytes } from "../kit/words";
import { CommandState } from "./command-state";

export default function Commands({ box }: { box: Appliance }) {
  const t = useTranslations();
  const sent = useQuery(commands(box.id));
  return (
    <Stack gap="md">
      <Logs box={box} />
      <Panel title={t("box.asked")}>
        <Answered asked={sent}>
          {(items) =>
            items.length === 0 ? (
              <Text size="sm">{t("box.noCommands")}</Text>
            ) : (
              <Lines>
                {items.map((item) => (
                  <Line key={item.id}>
                    <Stack gap={0}>
                      <Text>{item.command && "type" in item.command ? t(`action.${item.command.type}`) : item.id}</Text>
                      <Text size="sm" c="dimmed">
                        <Ago at={item.made_ms} />
                      </Text>
                    </Stack>
                    <CommandState state={item.state ?? null} />
                  </Line>
                ))}
              </Lines>
            )
          }
        </Answered>
      </Panel>
    </Stack>
  );
}

function Logs({ box }: { box: Appliance }) {
  const t = useTranslations();
  const bytes = useBytes();
  const may = useMay();
  const asked = useQuery({ ...logs(box.id), refetchInterval: 5_000 });
  const fetching = useChange(
    () => ask(api.POST("/api/v1/appliances/{id}/logs", { params: { path: { id: box.id } }, body: {} })),
    { old: [["appliance", box.id]] },
  );
  const operates = may(box.site, "operator") && !box.revoked_ms;
  return (
    <Panel
      title={t("box.logs")}
      actions={
        operates && (
          <Button size="xs" variant="default" onClick={() => fetching.mutate()} loading={fetching.isPending}>
            {t("action.fetch_logs")}
          </Button>
        )
      }
    >
      <WentWrong error={fetching.error} />
      <Answered asked={asked}>
        {(items) =>
          items.length === 0 ? (
            <Text size="sm">{t("box.noLogs")}</Text>
          ) : (
            <Lines>
              {items.map((log) => (
                <Line key={log.id}>
                  <AskedBy log={log} />
                  {log.bytes == null ? (
                    <Text size="sm">{t("box.logWaits")}</Text>
                  ) : (
                    operates && (
                      <Dialog
                        label={t("box.logRead", { size: bytes(log.bytes) })}
                        button={{ size: "xs", variant: "default" }}
                      >
                        {() => <Log box={box.id} log={log.id} />}
                      </Dialog>
                    )
                  )}
                </Line>
              ))}
            </Lines>
          )
        }
      </Answered>
    </Panel>
  );
}

function AskedBy({ log }: { log: Schemas["LogDelivery"] }) {
  const t = useTranslations("box");
  return (
    <Text size="sm">
      {t("logAsked", { who: log.asked_by, time: "" })}
      <Ago at={log.asked_ms} />
    </Text>
  );
}

function Log({ box, log }: { box: string; log: string }) {
  const asked = useQuery({
    queryKey: ["log", box, log],
    queryFn: ({ signal }) =>
      ask(
        api.GET("/api/v1/appliances/{id}/logs/{log}", {
          signal,
          params: { path: { id: box, log } },
          parseAs: "text",
        }),
      ),
  });
  return (
    <Answered asked={asked}>
      {(text) => (
        <Code block mah="60vh" tabIndex={0}>
          {text}
        </Code>
      )}
    </Answered>
  );
}
