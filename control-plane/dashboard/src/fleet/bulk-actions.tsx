// One action for all boxes that are selected: one request, one job that is watched.
import { Button, Group, Menu, Text, TextInput } from "@mantine/core";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslations } from "use-intl";
import { api, ask, type Schemas } from "../api/client";
import { useChange, WentWrong } from "../kit/change";
import { Dialog, Form } from "../kit/dialog";
import { readTags } from "./tags";

type Deed = Schemas["BulkAction"];
const DEEDS = ["start_backup", "verify", "restore_test", "rescan", "reboot"] as const;

export function BulkActions({ selected, clear }: { selected: ReadonlyMap<string, string>; clear: () => void }) {
  const t = useTranslations();
  const navigate = useNavigate();
  const asking = useChange(
    (action: Deed) => ask(api.POST("/api/v1/bulk", { body: { appliances: [...selected.keys()], action } })),
    { done: ({ id }) => void navigate({ to: "/bulk/$id", params: { id } }) },
  );
  const tagging = useChange(
    async (tags: string[]) => {
      for (const id of selected.keys()) {
        await ask(api.PATCH("/api/v1/appliances/{id}", { params: { path: { id } }, body: { tags } }));
      }
    },
    { old: [["fleet"]], done: clear },
  );
  const [tags, setTags] = useState("");
  return (
    <Group gap="xs">
      <Text size="sm">{t("fleet.selected", { count: selected.size })}</Text>
      <WentWrong error={asking.error} />
      <Menu withinPortal={false} withInitialFocusPlaceholder={false}>
        <Menu.Target>
          <Button size="xs" loading={asking.isPending}>
            {t("fleet.bulk")}
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          {DEEDS.map((deed) => (
            <Menu.Item key={deed} onClick={() => asking.mutate(deed)}>
              {t(`action.${deed}`)}
            </Menu.Item>
          ))}
        </Menu.Dropdown>
      </Menu>
      <Dialog label={t("fleet.setTags")} button={{ size: "xs", variant: "default" }}>
        {(close) => (
          <Form
            onSubmit={() => tagging.mutate(readTags(tags), { onSuccess: close })}
            busy={tagging.isPending}
            error={tagging.error}
            submit={t("common.save")}
          >
            <TextInput
              label={t("fleet.tags")}
              description={t("fleet.tagsHint")}
              value={tags}
              onChange={(event) => setTags(event.currentTarget.value)}
            />
          </Form>
        )}
      </Dialog>
      <Button size="xs" variant="subtle" onClick={clear}>
        {t("fleet.unselect")}
      </Button>
    </Group>
  );
}
