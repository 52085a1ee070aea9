// Who did what to what, and whether anybody changed that list.
import { Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useTranslations } from "use-intl";
import { api, ask } from "../api/client";
import { Panel, Scroll } from "../kit/parts";
import { Answered, Screen } from "../kit/screen";
import { Status } from "../kit/status";
import { useMoment } from "../kit/words";

export function Audit() {
  const t = useTranslations("audit");
  const moment = useMoment();
  const asked = useQuery({
    queryKey: ["audit"],
    queryFn: ({ signal }) => ask(api.GET("/api/v1/audit", { signal })),
  });
  return (
    <Screen title={t("title")}>
      <Answered asked={asked}>
        {({ items, broken_at }) => (
          <>
            <div>
              {broken_at == null ? (
                <Status tone="good">{t("whole")}</Status>
              ) : (
                <Status tone="bad">{t("broken", { n: broken_at })}</Status>
              )}
            </div>
            <Panel>
              <Text size="sm" c="dimmed">
                {t("last", { count: items.length })}
              </Text>
              <Scroll label={t("title")}>
                <Table>
                  <Table.Thead>
                    <Table.Tr>
                      <Table.Th>{t("when")}</Table.Th>
                      <Table.Th>{t("who")}</Table.Th>
                      <Table.Th>{t("what")}</Table.Th>
                      <Table.Th>{t("target")}</Table.Th>
                    </Table.Tr>
                  </Table.Thead>
                  <Table.Tbody>
                    {items.map((deed) => (
                      <Table.Tr key={deed.n}>
                        <Table.Td>{moment(deed.at_ms)}</Table.Td>
                        <Table.Td>{deed.who}</Table.Td>
                        <Table.Td>{deed.what}</Table.Td>
                        <Table.Td>{deed.target}</Table.Td>
                      </Table.Tr>
                    ))}
                  </Table.Tbody>
                </Table>
              </Scroll>
            </Panel>
          </>
        )}
      </Answered>
    </Screen>
  );
}
