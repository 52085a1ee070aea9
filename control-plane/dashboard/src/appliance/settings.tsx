// What a box should be and what it says it is; its name, site and tags; the end of its trust.
import { Button, Code, Group, NativeSelect, Stack, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslations } from "use-intl";
import { api, ask, type Appliance } from "../api/client";
import { reported, useMay, useTree } from "../api/queries";
import { readTags } from "../fleet/tags";
import { useChange, WentWrong } from "../kit/change";
import { Dialog, Form } from "../kit/dialog";
import { Panel } from "../kit/parts";
import { Answered } from "../kit/screen";
import { Status } from "../kit/status";

export default function Settings({ box }: { box: Appliance }) {
  const may = useMay();
  return (
    <Stack gap="md">
      {may(box.site, "admin") && !box.revoked_ms && <Name box={box} />}
      <Documents box={box} />
      {may(box.site, "admin") && !box.revoked_ms && <Revoke box={box} />}
    </Stack>
  );
}

function Name({ box }: { box: Appliance }) {
  const t = useTranslations();
  const tree = useTree();
  const may = useMay();
  const [name, setName] = useState(box.name);
  const [site, setSite] = useState(box.site);
  const [tags, setTags] = useState(box.tags.join(", "));
  const change = useChange(
    () => {
      const body = { name, tags: readTags(tags), ...(site !== box.site && { site }) };
      return ask(api.PATCH("/api/v1/appliances/{id}", { params: { path: { id: box.id } }, body }));
    },
    { old: [["appliance", box.id], ["fleet"]] },
  );
  const sites = tree.ofKind("site").filter((site) => may(site.id, "admin"));
  return (
    <Panel title={t("box.rename")}>
      <Form onSubmit={() => change.mutate()} busy={change.isPending} error={change.error} submit={t("common.save")}>
        <TextInput
          label={t("common.name")}
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
          required
        />
        <NativeSelect
          label={t("box.move")}
          value={site}
          onChange={(event) => setSite(event.currentTarget.value)}
          data={sites.map((site) => ({ value: site.id, label: tree.name(site.id) }))}
        />
        <TextInput
          label={t("fleet.tags")}
          description={t("fleet.tagsHint")}
          value={tags}
          onChange={(event) => setTags(event.currentTarget.value)}
        />
      </Form>
    </Panel>
  );
}

function Documents({ box }: { box: Appliance }) {
  const t = useTranslations();
  const desired = useQuery({
    queryKey: ["appliance", box.id, "desired"],
    queryFn: ({ signal }) =>
      ask(api.GET("/api/v1/appliances/{id}/desired", { signal, params: { path: { id: box.id } } })),
  });
  const said = useQuery(reported(box.id));
  return (
    <Panel
      title={t("box.desired")}
      actions={
        box.desired === box.applied ? (
          <Status tone="good">{t("box.inForce", { version: box.applied })}</Status>
        ) : (
          <Status tone="warn">{t("box.waitsFor", { desired: box.desired, applied: box.applied })}</Status>
        )
      }
    >
      <Answered asked={desired}>
        {(document) => (
          <details>
            <summary>{t("common.details")}: desired</summary>
            <Code block tabIndex={0}>
              {JSON.stringify(document, null, 2)}
            </Code>
          </details>
        )}
      </Answered>
      <Answered asked={said}>
        {({ reported }) =>
          reported ? (
            <details>
              <summary>{t("common.details")}: reported</summary>
              <Code block tabIndex={0}>
                {JSON.stringify(reported, null, 2)}
              </Code>
            </details>
          ) : (
            <Text size="sm">{t("box.notYet")}</Text>
          )
        }
      </Answered>
    </Panel>
  );
}

function Revoke({ box }: { box: Appliance }) {
  const t = useTranslations();
  const [typed, setTyped] = useState("");
  const change = useChange(
    () => ask(api.POST("/api/v1/appliances/{id}/revoke", { params: { path: { id: box.id } } })),
    { old: [["appliance", box.id], ["fleet"]] },
  );
  return (
    <Panel title={t("box.revoke")}>
      <Text size="sm">{t("box.revokeText")}</Text>
      <Group>
        <Dialog label={t("box.revoke")} button={{ color: "red.8" }}>
          {(close) => (
            <Stack>
              <TextInput
                label={`${t("box.revokeSure")}: ${box.name}`}
                value={typed}
                onChange={(event) => setTyped(event.currentTarget.value)}
                data-autofocus
              />
              <WentWrong error={change.error} />
              <Button
                color="red.8"
                disabled={typed !== box.name}
                loading={change.isPending}
                onClick={() => change.mutate(undefined, { onSuccess: close })}
              >
                {t("box.revoke")}
              </Button>
            </Stack>
          )}
        </Dialog>
      </Group>
    </Panel>
  );
}
