// What a box did, the newest first: how it ended, and why.
import { Group, Stack, Text } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useTranslations } from "use-intl";
import type { Appliance, Schemas } from "../api/client";
import { jobs } from "../api/queries";
import { Line, Lines, More, Panel } from "../kit/parts";
import { Answered, Nothing } from "../kit/screen";
import { Status, type Tone } from "../kit/status";
import { Ago, useSpan } from "../kit/words";
import { remarks, useResult } from "./result";

const STATES = ["running", "done", "failed"] as const;
const WORKS = ["backup", "verify", "restore", "restore_test", "prune"] as const;
const TONES: Record<(typeof STATES)[number] | "waiting", Tone> = {
  running: "neutral",
  done: "good",
  failed: "bad",
  waiting: "neutral",
};

export default function Jobs({ box }: { box: Appliance }) {
  const t = useTranslations();
  const asked = useInfiniteQuery(jobs(box.id));
  return (
    <Answered asked={asked}>
      {({ pages }) => {
        const all = pages.flatMap((page) => page.items);
        if (all.length === 0) return <Nothing title={t("box.noJobs")} />;
        return (
          <Panel>
            <Lines>
              {all.map((job) => (
                <Line key={job.id}>
                  <Job job={job} box={box} />
                </Line>
              ))}
            </Lines>
            <More list={asked} />
          </Panel>
        );
      }}
    </Answered>
  );
}

function Job({ job, box }: { job: Schemas["Job"]; box: Appliance }) {
  const t = useTranslations();
  const span = useSpan();
  const result = useResult();
  const state = STATES.find((known) => known === job.state) ?? "waiting";
  const work = WORKS.find((known) => known === job.work) ?? "unknown";
  const disk = box.disks.find((disk) => disk.id === job.disk)?.identity?.model ?? job.disk;
  return (
    <Stack gap={4}>
      <Group justify="space-between">
        <Text fw={500}>
          {t(`work.${work}`)}
          {disk && ` · ${disk}`}
        </Text>
        <Status tone={TONES[state]}>{t(`jobState.${state}`)}</Status>
      </Group>
      <Text size="sm" c="dimmed">
        {job.begun_ms != null && <Ago at={job.begun_ms} />}
        {job.begun_ms != null &&
          job.ended_ms != null &&
          ` · ${t("jobSaid.took", { time: span((job.ended_ms - job.begun_ms) / 1000) })}`}
      </Text>
      {job.result && <Text size="sm">{result(job.result)}</Text>}
      {job.result &&
        remarks(job.result).map((remark) => (
          <Text size="sm" key={remark}>
            – {remark}
          </Text>
        ))}
    </Stack>
  );
}
