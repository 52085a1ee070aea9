// The inbox of what a person should do something about; who is told of it; what is silenced.
import { Tabs } from "@mantine/core";
import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { useTranslations } from "use-intl";
import { Screen } from "../kit/screen";
import { ALERT_TABS } from "../router";
import { Inbox } from "./inbox";
import { Routes } from "./routes";
import { Silences } from "./silences";

const route = getRouteApi("/inside/alerts");

export function Alerts() {
  const t = useTranslations("alerts");
  const { tab = "inbox" } = route.useSearch();
  const navigate = useNavigate();
  return (
    <Screen title={t("title")}>
      <Tabs
        value={tab}
        onChange={(value) => {
          const tab = ALERT_TABS.find((tab) => tab === value);
          void navigate({ to: "/alerts", search: tab ? { tab } : {} });
        }}
        keepMounted={false}
      >
        <Tabs.List mb="md">
          {ALERT_TABS.map((tab) => (
            <Tabs.Tab value={tab} key={tab}>
              {t(tab)}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value="inbox">
          <Inbox />
        </Tabs.Panel>
        <Tabs.Panel value="routes">
          <Routes />
        </Tabs.Panel>
        <Tabs.Panel value="silences">
          <Silences />
        </Tabs.Panel>
      </Tabs>
    </Screen>
  );
}
