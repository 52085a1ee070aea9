// Adds a box: its code, a name and a site, and then one watches until its first recovery point is there.
import { Button, NativeSelect, Stack, Stepper, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";
import { useNow, useTranslations } from "use-intl";
import { ScreenLink } from "../kit/link";
import { api, ask, type Appliance } from "../api/client";
import { useWatch } from "../api/live";
import { appliance, useMay, useTree } from "../api/queries";
import { useChange } from "../kit/change";
import { Form } from "../kit/dialog";
import { Line, Lines, Panel } from "../kit/parts";
import { Answered, Nothing, Screen } from "../kit/screen";
import { Status } from "../kit/status";
import { useMoment } from "../kit/words";

const route = getRouteApi("/inside/enrol");

export function Enrol() {
  const t = useTranslations();
  const { code } = route.useSearch();
  const [claim, setClaim] = useState<string>();
  const tree = useTree();
  const may = useMay();
  const sites = tree.ofKind("site").filter((site) => may(site.id, "admin"));
  return (
    <Screen title={t("enrol.title")}>
      {claim ? (
        <Panel>
          <Watch claim={claim} />
        </Panel>
      ) : sites.length === 0 ? (
        <Nothing title={t("enrol.noSite")}>
          <ScreenLink to="/places">{t("app.places")}</ScreenLink>
        </Nothing>
      ) : (
        <Panel title={t("enrol.step1")}>
          <Text size="sm">{t("enrol.step1Text")}</Text>
          <Claim
            code={code ?? ""}
            sites={sites.map((site) => ({ value: site.id, label: tree.name(site.id) }))}
            claimed={setClaim}
          />
        </Panel>
      )}
      <Open watch={setClaim} />
    </Screen>
  );
}

const claims = {
  queryKey: ["fleet", "claims"],
  queryFn: async ({ signal }: { signal: AbortSignal }) => (await ask(api.GET("/api/v1/claims", { signal }))).items,
  refetchInterval: 3_000,
};

function Claim({
  code: given,
  sites,
  claimed,
}: {
  code: string;
  sites: { value: string; label: string }[];
  claimed: (id: string) => void;
}) {
  const t = useTranslations();
  const [code, setCode] = useState(given);
  const [name, setName] = useState("");
  const [site, setSite] = useState(sites[0]?.value ?? "");
  const change = useChange(() => ask(api.POST("/api/v1/claims", { body: { code: code.trim(), name, site } })), {
    old: [claims.queryKey],
    done: ({ id }) => claimed(id),
  });
  return (
    <Form onSubmit={() => change.mutate()} busy={change.isPending} error={change.error} submit={t("enrol.add")}>
      <TextInput
        label={t("enrol.code")}
        value={code}
        onChange={(event) => setCode(event.currentTarget.value)}
        autoComplete="off"
        autoCapitalize="characters"
        spellCheck={false}
        required
      />
      <TextInput
        label={t("enrol.name")}
        description={t("enrol.nameHint")}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
        maxLength={100}
        required
      />
      <NativeSelect
        label={t("enrol.site")}
        value={site}
        onChange={(event) => setSite(event.currentTarget.value)}
        data={sites}
      />
    </Form>
  );
}

function Watch({ claim: id }: { claim: string }) {
  const t = useTranslations("enrol");
  const moment = useMoment();
  const asked = useQuery(claims);
  return (
    <Answered asked={asked}>
      {(items) => {
        const claim = items.find((claim) => claim.id === id);
        if (claim?.device) return <FirstBackup device={claim.device} />;
        return (
          <Stack role="status">
            <Text fw={600}>{t("waiting")}</Text>
            {claim && <Text size="sm">{t("waitingText", { time: moment(claim.until_ms) })}</Text>}
          </Stack>
        );
      }}
    </Answered>
  );
}

function FirstBackup({ device }: { device: string }) {
  useWatch(device);
  const asked = useQuery({ ...appliance(device), refetchInterval: 5_000 });
  return <Answered asked={asked}>{(box) => <Steps box={box} />}</Answered>;
}

function Steps({ box }: { box: Appliance }) {
  const t = useTranslations();
  const disk = box.disks.find((disk) => !disk.gone_ms);
  const safe = box.disks.some((disk) => disk.newest_ms != null);
  const job = box.heartbeat?.job;
  const step = safe ? 3 : disk ? 2 : 1;
  const reasons = box.disks.flatMap((disk) => disk.not_protected);
  const said = !disk
    ? t("enrol.here")
    : !safe
      ? t("enrol.plugged")
      : box.protected
        ? t("enrol.green")
        : t("enrol.notGreen");
  return (
    <Stack role="status">
      <Stepper active={step} orientation="vertical" size="sm" allowNextStepsSelect={false} aria-hidden>
        <Stepper.Step label={box.name} />
        <Stepper.Step label={disk?.identity?.model ?? t("box.disks")} />
        <Stepper.Step label={t("work.backup")} description={job && !safe ? `${String(job.percent)} %` : undefined} />
      </Stepper>
      <Status tone={safe && box.protected ? "good" : safe ? "warn" : "neutral"}>
        {said}
        {job && !safe && ` ${String(job.percent)} %`}
      </Status>
      {safe &&
        [...new Set(reasons)].map((reason) => (
          <Text size="sm" key={reason}>
            {t(`reason.${reason}`)}: {t(`todo.${reason}`)}
          </Text>
        ))}
      <div>
        <ScreenLink to="/appliances/$id" params={{ id: box.id }}>
          {t("enrol.open")}
        </ScreenLink>
      </div>
    </Stack>
  );
}

function Open({ watch }: { watch: (id: string) => void }) {
  const t = useTranslations("enrol");
  const tree = useTree();
  const moment = useMoment();
  const now = useNow({ updateInterval: 30_000 }).getTime();
  const open = (useQuery(claims).data ?? []).filter((claim) => !claim.device && claim.until_ms > now);
  if (open.length === 0) return null;
  return (
    <Panel title={t("open_claims")}>
      <Lines>
        {open.map((claim) => (
          <Line key={claim.id}>
            <Text>
              {claim.name} · {tree.name(claim.site)}
            </Text>
            <Button variant="default" size="xs" onClick={() => watch(claim.id)}>
              {t("waiting")}, {t("expires", { time: moment(claim.until_ms) })}
            </Button>
          </Line>
        ))}
      </Lines>
    </Panel>
  );
}
