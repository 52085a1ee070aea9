// What became of one thing that many boxes were asked to do.
import { Progress, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useTranslations } from "use-intl";
import { ScreenLink } from "../kit/link";
import { api, ask } from "../api/client";
import { CommandState } from "../appliance/command-state";
import { Facts, Panel, Scroll } from "../kit/parts";
import { Answered, Screen } from "../kit/screen";
import { Status } from "../kit/status";
import { Ago } from "../kit/words";

const route = getRouteApi("/inside/bulk/$id");

export function Bulk() {
  const t = useTranslations();
  const { id } = route.useParams();
  const asked = useQuery({
    queryKey: ["fleet", "bulk", id],
    queryFn: ({ signal }) => ask(api.GET("/api/v1/bulk/{id}", { signal, params: { path: { id } } })),
    refetchInterval: 2_000,
  });
  return (
    <Screen title={t("bulk.title")}>
      <Answered asked={asked}>
        {(bulk) => {
          const ended = bulk.parts.filter((part) => part.refused ?? part.ended_ms).length;
          return (
            <>
              <Panel>
                <Facts
                  facts={[
                    [t("bulk.what"), t(`action.${bulk.action}`)],
                    [
                      t("bulk.by"),
                      <>
                        {bulk.made_by}, <Ago at={bulk.made_ms} />
                      </>,
                    ],
                  ]}
                />
                <Text size="sm">{t("bulk.done", { done: ended, all: bulk.parts.length })}</Text>
                <Progress
                  value={(100 * ended) / Math.max(1, bulk.parts.length)}
                  aria-label={t("bulk.done", { done: ended, all: bulk.parts.length })}
                />
              </Panel>
              <Panel title={t("bulk.boxes")}>
                <Scroll label={t("bulk.boxes")}>
                  <Table>
                    <Table.Thead>
                      <Table.Tr>
                        <Table.Th>{t("fleet.box")}</Table.Th>
                        <Table.Th>{t("bulk.state")}</Table.Th>
                      </Table.Tr>
                    </Table.Thead>
                    <Table.Tbody>
                      {bulk.parts.map((part) => (
                        <Table.Tr key={part.device}>
                          <Table.Td>
                            <ScreenLink to="/appliances/$id" params={{ id: part.device }}>
                              {part.name}
                            </ScreenLink>
                          </Table.Td>
                          <Table.Td>
                            {part.refused ? (
                              <Status tone="bad">
                                {t("bulk.refused")}: {part.refused}
                              </Status>
                            ) : (
                              <CommandState state={part.state ?? null} />
                            )}
                          </Table.Td>
                        </Table.Tr>
                      ))}
                    </Table.Tbody>
                  </Table>
                </Scroll>
              </Panel>
            </>
          );
        }}
      </Answered>
    </Screen>
  );
}
