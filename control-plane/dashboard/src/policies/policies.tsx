// What boxes at a node do: when they back up, what they keep, how they prove it. Inherited from above unless a node has its own.
import { Alert, Checkbox, Group, NativeSelect, NumberInput, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslations } from "use-intl";
import { api, ask, type Schemas } from "../api/client";
import { useMay, useTree } from "../api/queries";
import { useChange } from "../kit/change";
import { Form } from "../kit/dialog";
import { Panel } from "../kit/parts";
import { Answered, Screen } from "../kit/screen";
import { Status } from "../kit/status";
import { DAYS, readTimes } from "./times";

type Policy = Schemas["Policy"];
type Day = Schemas["Weekday"];
const route = getRouteApi("/inside/policies");
const KEEP = ["last", "hourly", "daily", "weekly", "monthly", "yearly"] as const;

export function Policies() {
  const t = useTranslations("policies");
  const tree = useTree();
  const navigate = useNavigate();
  const { node = tree.nodes[0]?.id } = route.useSearch();
  return (
    <Screen title={t("title")}>
      <NativeSelect
        label={t("of")}
        value={node ?? ""}
        onChange={(event) => void navigate({ to: "/policies", search: { node: event.currentTarget.value } })}
        data={tree.nodes.map((node) => ({ value: node.id, label: tree.name(node.id) }))}
        maw={480}
      />
      {node && <OfNode node={node} key={node} />}
    </Screen>
  );
}

function OfNode({ node }: { node: string }) {
  const t = useTranslations("policies");
  const asked = useQuery({
    queryKey: ["policy", node],
    queryFn: ({ signal }) => ask(api.GET("/api/v1/nodes/{node}/policy", { signal, params: { path: { node } } })),
  });
  return (
    <Answered asked={asked}>
      {({ policy, inherited }) => (
        <Stack gap="md">
          <Text size="sm">{t(inherited ? "inherited" : "own")}</Text>
          <Edit node={node} policy={policy} />
        </Stack>
      )}
    </Answered>
  );
}

function Edit({ node, policy: given }: { node: string; policy: Policy }) {
  const t = useTranslations("policies");
  const common = useTranslations("common");
  const may = useMay();
  const [policy, setPolicy] = useState(given);
  const [times, setTimes] = useState((given.backup.schedule?.times ?? ["22:00"]).join(", "));
  const [days, setDays] = useState<readonly Day[]>(given.backup.schedule?.days ?? DAYS);
  const [scheduled, setScheduled] = useState(given.backup.schedule != null);
  const change = useChange(
    () => {
      const { schedule: _schedule, ...rest } = policy.backup;
      const backup = scheduled ? { ...rest, schedule: { days: [...days], times: readTimes(times) } } : rest;
      return ask(api.PUT("/api/v1/nodes/{node}/policy", { params: { path: { node } }, body: { ...policy, backup } }));
    },
    { old: [["policy"], ["appliance"]] },
  );
  const backup = (part: Partial<Policy["backup"]>) => setPolicy({ ...policy, backup: { ...policy.backup, ...part } });
  const verify = (part: Partial<Policy["verify"]>) => setPolicy({ ...policy, verify: { ...policy.verify, ...part } });
  const off = !may(node, "admin");
  const everyDays = (label: string, value: number | null | undefined, set: (days: number | null) => void) => (
    <NumberInput
      label={label}
      value={value ?? ""}
      onChange={(value) => set(typeof value === "number" && value > 0 ? value : null)}
      min={0}
      max={366}
      allowDecimal={false}
      disabled={off}
    />
  );
  return (
    <Form onSubmit={() => !off && change.mutate()} busy={change.isPending} error={change.error} submit={common("save")}>
      <Panel title={t("backup")}>
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          <NativeSelect
            label={t("onPlug")}
            value={policy.backup.on_plug}
            onChange={({ currentTarget: { value } }) => backup({ on_plug: value === "wait" ? "wait" : "backup" })}
            data={(["backup", "wait"] as const).map((value) => ({ value, label: t(`plug.${value}`) }))}
            disabled={off}
          />
          <NativeSelect
            label={t("newDisk")}
            value={policy.new_disk}
            onChange={({ currentTarget: { value } }) =>
              setPolicy({ ...policy, new_disk: value === "ignore" ? "ignore" : value === "ask" ? "ask" : "backup" })
            }
            data={(["backup", "ask", "ignore"] as const).map((value) => ({ value, label: t(`newDisks.${value}`) }))}
            disabled={off}
          />
          <TextInput
            label={t("zone")}
            value={policy.backup.time_zone}
            onChange={(event) => backup({ time_zone: event.currentTarget.value })}
            disabled={off}
            required
          />
        </SimpleGrid>
        <Checkbox
          label={t("schedule")}
          checked={scheduled}
          onChange={(event) => setScheduled(event.currentTarget.checked)}
          disabled={off}
        />
        {scheduled && (
          <Stack gap="sm">
            <TextInput
              label={t("times")}
              description={t("timesHint")}
              value={times}
              onChange={(event) => setTimes(event.currentTarget.value)}
              disabled={off}
              required
            />
            <Checkbox.Group
              label={t("days")}
              value={[...days]}
              onChange={(chosen) => setDays(DAYS.filter((day) => chosen.includes(day)))}
            >
              <Group gap="md" mt={6}>
                {DAYS.map((day) => (
                  <Checkbox key={day} value={day} label={t(`weekday.${day}`)} disabled={off} />
                ))}
              </Group>
            </Checkbox.Group>
          </Stack>
        )}
      </Panel>
      <Panel title={t("retention")}>
        <SimpleGrid cols={{ base: 2, sm: 3, md: 6 }}>
          {KEEP.map((rule) => (
            <NumberInput
              key={rule}
              label={t(`keep.${rule}`)}
              value={policy.retention[rule] ?? 0}
              onChange={(value) =>
                setPolicy({ ...policy, retention: { ...policy.retention, [rule]: Number(value) || 0 } })
              }
              min={0}
              max={10_000}
              allowDecimal={false}
              disabled={off}
            />
          ))}
        </SimpleGrid>
      </Panel>
      <Panel title={t("proof")}>
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          {everyDays(t("sample"), policy.verify.sample_every_days, (days) => verify({ sample_every_days: days }))}
          <NumberInput
            label={t("samplePercent")}
            value={policy.verify.sample_percent ?? 10}
            onChange={(value) => verify({ sample_percent: Number(value) || 1 })}
            min={1}
            max={100}
            allowDecimal={false}
            disabled={off}
          />
          {everyDays(t("full"), policy.verify.full_every_days, (days) => verify({ full_every_days: days }))}
          {everyDays(t("restoreTest"), policy.verify.restore_test_every_days, (days) =>
            verify({ restore_test_every_days: days }),
          )}
          <NumberInput
            label={t("heartbeat")}
            value={policy.heartbeat_s}
            onChange={(value) => setPolicy({ ...policy, heartbeat_s: Number(value) || 60 })}
            min={10}
            max={3600}
            allowDecimal={false}
            disabled={off}
          />
        </SimpleGrid>
      </Panel>
      <Alert color="gray">{t("weaker")}</Alert>
      {change.data && (
        <span role="status">
          <Status tone="good">{t("saved", { count: change.data.boxes })}</Status>
        </span>
      )}
    </Form>
  );
}
