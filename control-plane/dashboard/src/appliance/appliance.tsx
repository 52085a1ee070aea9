// One box: whether it protects what it should, what it does right now, and all that is known of it.
import { Alert, Breadcrumbs, Group, Tabs, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { lazy, Suspense } from "react";
import { useTranslations } from "use-intl";
import { ScreenLink } from "../kit/link";
import type { Appliance } from "../api/client";
import { useWatch } from "../api/live";
import { appliance, useTree } from "../api/queries";
import { Answered, Screen, Waiting } from "../kit/screen";
import { Presence, Protected } from "../kit/status";
import { Ago, useMoment } from "../kit/words";
import { BOX_TABS } from "../router";
import { Actions } from "./actions";
import { Overview } from "./overview";

const route = getRouteApi("/inside/appliances/$id");
const Points = lazy(() => import("./points"));
const Jobs = lazy(() => import("./jobs"));
const Events = lazy(() => import("./events"));
const Commands = lazy(() => import("./commands"));
const Settings = lazy(() => import("./settings"));

export function ApplianceScreen() {
  const { id } = route.useParams();
  useWatch(id);
  const asked = useQuery({ ...appliance(id), refetchInterval: 30_000 });
  const t = useTranslations("fleet");
  if (asked.data) return <Box box={asked.data} />;
  return (
    <Screen title={t("box")}>
      <Answered asked={asked}>{() => null}</Answered>
    </Screen>
  );
}

function Box({ box }: { box: Appliance }) {
  const t = useTranslations();
  const tree = useTree();
  const moment = useMoment();
  const { tab = "overview" } = route.useSearch();
  const navigate = useNavigate();
  const reasons = [...new Set([...box.not_protected, ...box.disks.flatMap((disk) => disk.not_protected)])];
  return (
    <Screen title={box.name} actions={<Actions box={box} />}>
      <Breadcrumbs mt={-16} separator="›">
        {tree
          .upwards(box.site)
          .toReversed()
          .map((node) => (
            <ScreenLink key={node.id} to="/fleet" search={{ node: node.id }} size="sm">
              {node.name}
            </ScreenLink>
          ))}
      </Breadcrumbs>
      <Group gap="sm">
        <Protected reasons={reasons} />
        <Presence presence={box.presence} />
        <Text size="sm" c="dimmed">
          {t("box.heard")}: {box.heard_ms ? <Ago at={box.heard_ms} /> : t("common.never")}
        </Text>
      </Group>
      {box.revoked_ms && <Alert color="gray">{t("box.revoked", { time: moment(box.revoked_ms) })}</Alert>}
      {!box.recoverable && box.heard_ms && (
        <Alert color="red" title={t("box.notRecoverable")}>
          {t("box.notRecoverableText")}
        </Alert>
      )}
      {box.flag && <Alert color="yellow">{t("box.flagged", { why: box.flag })}</Alert>}
      <Tabs
        value={tab}
        onChange={(value) => {
          const tab = BOX_TABS.find((tab) => tab === value);
          void navigate({ to: "/appliances/$id", params: { id: box.id }, search: tab ? { tab } : {} });
        }}
        keepMounted={false}
      >
        <Tabs.List mb="md">
          {BOX_TABS.map((tab) => (
            <Tabs.Tab value={tab} key={tab}>
              {t(`box.${tab}`)}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Suspense fallback={<Waiting />}>
          <Tabs.Panel value="overview">
            <Overview box={box} />
          </Tabs.Panel>
          <Tabs.Panel value="recovery">
            <Points box={box} />
          </Tabs.Panel>
          <Tabs.Panel value="jobs">
            <Jobs box={box} />
          </Tabs.Panel>
          <Tabs.Panel value="events">
            <Events id={box.id} />
          </Tabs.Panel>
          <Tabs.Panel value="commands">
            <Commands box={box} />
          </Tabs.Panel>
          <Tabs.Panel value="settings">
            <Settings box={box} />
          </Tabs.Panel>
        </Suspense>
      </Tabs>
    </Screen>
  );
}
