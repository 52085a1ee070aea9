// A restore, prepared here, signed elsewhere, confirmed on the box: this page never sees the key that could destroy a disk.
import { Button, Group, NativeSelect, Stack, Text, Textarea, TextInput } from "@mantine/core";
import { useState } from "react";
import { useTranslations } from "use-intl";
import { api, ask, type Appliance, type Schemas } from "../api/client";
import { useMay } from "../api/queries";
import { useSend } from "../appliance/actions";
import { useChange, WentWrong } from "../kit/change";
import { Copyable, Panel } from "../kit/parts";
import { Status } from "../kit/status";
import { commandText, signLine, type What } from "./command";

export function Restore({ box, point }: { box: Appliance; point: Schemas["RecoveryPoint"] }) {
  const t = useTranslations();
  const may = useMay();
  const send = useSend(box.id);
  return (
    <Panel title={t("point.restore")}>
      <Group>
        <Button
          variant="default"
          loading={send.isPending}
          onClick={() => send.mutate({ type: "restore_test", args: { snapshot: point.snapshot } })}
        >
          {t("point.test")}
        </Button>
        {send.isSuccess && (
          <span role="status">
            <Status tone="good">{t("action.sent")}</Status>
          </span>
        )}
      </Group>
      <WentWrong error={send.error} />
      {may(box.site, "admin") && <Prepare box={box} point={point} />}
    </Panel>
  );
}

function Prepare({ box, point }: { box: Appliance; point: Schemas["RecoveryPoint"] }) {
  const t = useTranslations();
  const [what, setWhat] = useState<What>("disk");
  const [target, setTarget] = useState("");
  const [partition, setPartition] = useState("1");
  const [paths, setPaths] = useState("/");
  const [prepared, setPrepared] = useState<string>();
  const [signed, setSigned] = useState("");
  const sending = useChange(
    () => {
      const body = JSON.parse(signed) as Schemas["Command"];
      return ask(api.POST("/api/v1/appliances/{id}/commands/signed", { params: { path: { id: box.id } }, body }));
    },
    { old: [["appliance", box.id]] },
  );
  const serials = box.disks.filter((disk) => !disk.gone_ms).flatMap((disk) => disk.identity?.serial ?? []);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        setPrepared(
          commandText({ what, target, partition: Number(partition), paths, snapshot: point.snapshot }, Date.now()),
        );
      }}
    >
      <Stack>
        <Text size="sm">{t("point.restoreText")}</Text>
        <NativeSelect
          label={t("point.what")}
          value={what}
          onChange={({ currentTarget: { value } }) =>
            setWhat(value === "partition" ? "partition" : value === "files" ? "files" : "disk")
          }
          data={[
            { value: "disk", label: t("point.wholeDisk") },
            { value: "partition", label: t("point.onePartition") },
            { value: "files", label: t("point.files") },
          ]}
        />
        <TextInput
          label={t("point.target")}
          description={`${t("point.targetHint")}${serials.length > 0 ? `: ${serials.join(", ")}` : ""}`}
          value={target}
          onChange={(event) => setTarget(event.currentTarget.value)}
          required
        />
        {what !== "disk" && (
          <TextInput
            label={t("point.partition")}
            type="number"
            min={1}
            value={partition}
            onChange={(event) => setPartition(event.currentTarget.value)}
            required
          />
        )}
        {what === "files" && (
          <Textarea
            label={t("point.paths")}
            value={paths}
            onChange={(event) => setPaths(event.currentTarget.value)}
            autosize
            required
          />
        )}
        <Group>
          <Button type="submit">{t("point.prepare")}</Button>
        </Group>
        {prepared && (
          <Stack>
            <Text size="sm">{t("point.sign")}</Text>
            <Copyable value={signLine(box.id, prepared)} />
            <Textarea
              label={t("point.paste")}
              value={signed}
              onChange={(event) => setSigned(event.currentTarget.value)}
              autosize
              minRows={3}
              maxRows={8}
            />
            <WentWrong error={sending.error} />
            <Group>
              <Button disabled={signed === ""} loading={sending.isPending} onClick={() => sending.mutate()}>
                {t("point.send")}
              </Button>
            </Group>
            {sending.isSuccess && <Status tone="good">{t("point.press")}</Status>}
          </Stack>
        )}
      </Stack>
    </form>
  );
}
