// What a customer can be shown: a page to print and a table to keep, for a period.
import { Button, Group, NativeSelect, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { useFormatter, useTranslations } from "use-intl";
import { api, ask, type Schemas } from "../api/client";
import { useTree } from "../api/queries";
import { Panel, Scroll } from "../kit/parts";
import { Answered, Nothing, Screen } from "../kit/screen";
import { Protected } from "../kit/status";
import { useMoment } from "../kit/words";
import { toCsv, total } from "./table";

const route = getRouteApi("/inside/reports");
const PERIODS = [7, 30, 90, 365] as const;

export function Reports() {
  const t = useTranslations("reports");
  const tree = useTree();
  const navigate = useNavigate();
  const first = (tree.ofKind("customer")[0] ?? tree.nodes[0])?.id;
  const { node = first, days = 30 } = route.useSearch();
  return (
    <Screen title={t("title")}>
      <Group gap="sm" className="no-print" align="flex-end">
        <NativeSelect
          label={t("of")}
          value={node ?? ""}
          onChange={(event) => void navigate({ to: "/reports", search: { node: event.currentTarget.value, days } })}
          data={tree.nodes.map((node) => ({ value: node.id, label: tree.name(node.id) }))}
        />
        <NativeSelect
          label={t("period")}
          value={String(days)}
          onChange={(event) =>
            void navigate({
              to: "/reports",
              search: { ...(node && { node }), days: Number(event.currentTarget.value) },
            })
          }
          data={PERIODS.map((count) => ({ value: String(count), label: t("days", { count }) }))}
        />
      </Group>
      {node && <Report node={node} days={days} />}
    </Screen>
  );
}

function Report({ node, days }: { node: string; days: number }) {
  const t = useTranslations("reports");
  const tree = useTree();
  const moment = useMoment();
  const format = useFormatter();
  const asked = useQuery({
    queryKey: ["fleet", "report", node, days],
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/nodes/{node}/report", { signal, params: { path: { node }, query: { days } } })),
  });
  return (
    <Answered asked={asked}>
      {(report) => {
        const sum = total(report.boxes);
        const span = `${format.dateTime(report.from_ms, { dateStyle: "long" })} – ${format.dateTime(report.to_ms, { dateStyle: "long" })}`;
        return (
          <Panel
            title={tree.name(node)}
            actions={
              <Group gap="xs" className="no-print">
                <Button variant="default" size="xs" onClick={() => window.print()}>
                  {t("print")}
                </Button>
                <Button variant="default" size="xs" onClick={() => save(report, (site) => tree.name(site))}>
                  {t("csv")}
                </Button>
              </Group>
            }
          >
            <Text size="sm" c="dimmed">
              {span} · {t("made", { time: moment(report.to_ms) })}
            </Text>
            {report.boxes.length === 0 ? (
              <Nothing title={t("none")} />
            ) : (
              <>
                <Text>{t("summary", sum)}</Text>
                <Rows boxes={report.boxes} />
              </>
            )}
          </Panel>
        );
      }}
    </Answered>
  );
}

function Rows({ boxes }: { boxes: readonly Schemas["ReportOfBox"][] }) {
  const t = useTranslations("reports");
  const common = useTranslations("common");
  const tree = useTree();
  const moment = useMoment();
  return (
    <Scroll label={t("title")}>
      <Table>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>{t("box")}</Table.Th>
            <Table.Th>{t("site")}</Table.Th>
            <Table.Th>{t("state")}</Table.Th>
            <Table.Th>{t("backups")}</Table.Th>
            <Table.Th>{t("failed")}</Table.Th>
            <Table.Th>{t("points")}</Table.Th>
            <Table.Th>{t("newest")}</Table.Th>
            <Table.Th>{t("verifies")}</Table.Th>
            <Table.Th>{t("tests")}</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {boxes.map((box) => (
            <Table.Tr key={box.device}>
              <Table.Td>{box.name}</Table.Td>
              <Table.Td>{tree.name(box.site)}</Table.Td>
              <Table.Td>
                <Protected reasons={box.reason ? [box.reason] : []} />
              </Table.Td>
              <Table.Td>{box.backups}</Table.Td>
              <Table.Td>{box.backups_failed + box.proofs_failed}</Table.Td>
              <Table.Td>{box.recovery_points}</Table.Td>
              <Table.Td>{box.newest_ms == null ? common("never") : moment(box.newest_ms)}</Table.Td>
              <Table.Td>{box.verifies}</Table.Td>
              <Table.Td>{box.restore_tests}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Scroll>
  );
}

function save(report: Schemas["Report"], place: (site: string) => string): void {
  const url = URL.createObjectURL(new Blob([toCsv(report.boxes, place)], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `protection-${new Date(report.to_ms).toISOString().slice(0, 10)}.csv`;
  link.click();
  URL.revokeObjectURL(url);
}
