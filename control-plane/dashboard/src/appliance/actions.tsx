// What a box can be asked to do from here. Nothing of it can destroy.
import { Button, Menu } from "@mantine/core";
import { IconChevronDown } from "@tabler/icons-react";
import { useState } from "react";
import { useTranslations } from "use-intl";
import { api, ask, type Appliance, type Schemas } from "../api/client";
import { useMay } from "../api/queries";
import { useChange, WentWrong } from "../kit/change";
import { Status } from "../kit/status";

type Action = Schemas["Action"];

export function useSend(id: string) {
  return useChange(
    (body: Action) => ask(api.POST("/api/v1/appliances/{id}/commands", { params: { path: { id } }, body })),
    { old: [["appliance", id]] },
  );
}

export function Actions({ box }: { box: Appliance }) {
  const t = useTranslations();
  const may = useMay();
  const send = useSend(box.id);
  const [asked, setAsked] = useState(false);
  if (!may(box.site, "operator") || box.revoked_ms) return null;
  const disks = box.disks.filter((disk) => !disk.gone_ms);
  const go = (action: Action) => send.mutate(action, { onSuccess: () => setAsked(true) });
  const others: [string, Action][] = [
    [t("action.verify"), { type: "verify", args: { percent: 10 } }],
    [t("action.verify_full"), { type: "verify", args: { percent: 100 } }],
    [t("action.restore_test"), { type: "restore_test", args: {} }],
    [t("action.rescan"), { type: "rescan", args: {} }],
    [t("action.identify"), { type: "identify", args: { for_s: 60 } }],
    [t("action.prune"), { type: "prune", args: {} }],
    [t("action.rebirth"), { type: "rebirth", args: {} }],
    [t("action.reboot"), { type: "reboot", args: {} }],
  ];
  return (
    <>
      <WentWrong error={send.error} />
      {asked && !send.error && (
        <span role="status">
          <Status tone="good">{t("action.sent")}</Status>
        </span>
      )}
      <Menu position="bottom-end" withinPortal={false} withInitialFocusPlaceholder={false}>
        <Menu.Target>
          <Button loading={send.isPending} rightSection={<IconChevronDown size={16} aria-hidden />}>
            {t("common.actions")}
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          {disks.map((disk) => (
            <Menu.Item key={disk.id} onClick={() => go({ type: "start_backup", args: { disk: disk.id } })}>
              {t("action.start_backup")}
              {disks.length > 1 && `: ${disk.identity?.model ?? disk.id}`}
            </Menu.Item>
          ))}
          {others.map(([label, action]) => (
            <Menu.Item key={label} onClick={() => go(action)}>
              {label}
            </Menu.Item>
          ))}
        </Menu.Dropdown>
      </Menu>
    </>
  );
}
