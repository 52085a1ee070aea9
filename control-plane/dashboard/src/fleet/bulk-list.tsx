// What many boxes were asked to do together lately, and how far each is.
import { Progress, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useTranslations } from "use-intl";
import { api, ask } from "../api/client";
import { ScreenLink } from "../kit/link";
import { Line, Lines, Panel } from "../kit/parts";
import { Answered, Nothing, Screen } from "../kit/screen";
import { Ago } from "../kit/words";

export function BulkList() {
  const t = useTranslations();
  const asked = useQuery({
    queryKey: ["fleet", "bulk"],
    queryFn: async ({ signal }) => (await ask(api.GET("/api/v1/bulk", { signal }))).items,
    refetchInterval: 10_000,
  });
  return (
    <Screen title={t("bulk.list")}>
      <Panel>
        <Answered asked={asked}>
          {(items) =>
            items.length === 0 ? (
              <Nothing title={t("bulk.none")} />
            ) : (
              <Lines>
                {items.map((bulk) => (
                  <Line key={bulk.id}>
                    <Stack gap={2}>
                      <ScreenLink to="/bulk/$id" params={{ id: bulk.id }}>
                        {t(`action.${bulk.action}`)}
                      </ScreenLink>
                      <Text size="sm" c="dimmed">
                        {bulk.made_by}, <Ago at={bulk.made_ms} />
                      </Text>
                    </Stack>
                    <Stack gap={2} miw={160}>
                      <Text size="sm">{t("bulk.done", { done: bulk.ended, all: bulk.parts })}</Text>
                      <Progress
                        value={(100 * bulk.ended) / Math.max(1, bulk.parts)}
                        aria-label={t("bulk.done", { done: bulk.ended, all: bulk.parts })}
                      />
                    </Stack>
                  </Line>
                ))}
              </Lines>
            )
          }
        </Answered>
      </Panel>
    </Screen>
  );
}
