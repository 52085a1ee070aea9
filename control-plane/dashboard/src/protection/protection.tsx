// The first screen. One question: which customers are not protected right now, why, since when, and what to do about it.
import { Button, Group, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";
import { useTranslations } from "use-intl";
import { ScreenLink } from "../kit/link";
import { protection, useTree } from "../api/queries";
import { Line, Lines, Panel } from "../kit/parts";
import { Answered, Nothing, Screen, Waiting } from "../kit/screen";
import { Status } from "../kit/status";
import { Ago } from "../kit/words";
import { FirstRun } from "./first-run";
import { judge, type Judged, type Unprotected } from "./judge";

const Trend = lazy(() => import("./trend"));
/** Customers that are shown before somebody asks for more. */
const SHOWN = 25;

export function Protection() {
  const t = useTranslations("protection");
  const asked = useQuery(protection());
  const tree = useTree();
  return (
    <Screen title={t("title")}>
      <FirstRun />
      <Answered asked={asked}>
        {(answer) => {
          const judged = judge(answer.sites, tree);
          return (
            <>
              <Verdict judged={judged} />
              {judged.worst.length > 0 && <Worst worst={judged.worst} />}
              {judged.boxes > 0 && (
                <Panel title={t("trend")}>
                  <Suspense fallback={<Waiting />}>
                    <Trend days={answer.days} now={{ at: answer.at_ms, boxes: judged.boxes, bad: judged.bad }} />
                  </Suspense>
                </Panel>
              )}
            </>
          );
        }}
      </Answered>
    </Screen>
  );
}

function Verdict({ judged: { boxes, bad } }: { judged: Judged }) {
  const t = useTranslations("protection");
  if (boxes === 0) return <Nothing title={t("empty")} />;
  return (
    <Group gap="sm" role="status" data-testid="verdict">
      {bad === 0 ? (
        <Status tone="good">{t("good", { count: boxes })}</Status>
      ) : (
        <>
          <Status tone="bad">{t("bad", { count: bad })}</Status>
          <Text c="dimmed">{t("rest", { count: boxes - bad })}</Text>
        </>
      )}
    </Group>
  );
}

function Worst({ worst }: { worst: readonly Unprotected[] }) {
  const t = useTranslations("protection");
  const common = useTranslations("common");
  const [shown, setShown] = useState(SHOWN);
  return (
    <Panel title={t("worst")} actions={<Text c="dimmed">{t("customers", { count: worst.length })}</Text>}>
      <Lines>
        {worst.slice(0, shown).map((customer) => (
          <Line key={customer.id}>
            <Customer customer={customer} />
          </Line>
        ))}
      </Lines>
      {worst.length > shown && (
        <Button variant="default" onClick={() => setShown(shown + 4 * SHOWN)}>
          {common("more")}
        </Button>
      )}
    </Panel>
  );
}

function Customer({ customer }: { customer: Unprotected }) {
  const t = useTranslations();
  const boxes = { protected: false, sort: "protected" } as const;
  return (
    <Stack gap={6}>
      <Group justify="space-between" gap="xs">
        <ScreenLink to="/fleet" search={{ node: customer.id, ...boxes }} fw={600}>
          {customer.name}
        </ScreenLink>
        <Text size="sm" c="dimmed">
          {t("protection.of", { bad: customer.bad, all: customer.boxes })}
        </Text>
      </Group>
      {customer.reasons.map((why) => (
        <Stack gap={0} key={why.reason}>
          <Group gap="xs">
            <Status tone="bad">
              {t(`reason.${why.reason}`)}
              {why.boxes > 1 && ` × ${String(why.boxes)}`}
            </Status>
            <Text size="sm" c="dimmed">
              <Ago at={why.since} />
            </Text>
          </Group>
          <Text size="sm">{t(`todo.${why.reason}`)}</Text>
        </Stack>
      ))}
      <Group gap="xs">
        {customer.sites.slice(0, 8).map((site) => (
          <ScreenLink to="/fleet" search={{ node: site.id, ...boxes }} size="sm" key={site.id}>
            {site.name} ({t("protection.of", { bad: site.bad, all: site.boxes })})
          </ScreenLink>
        ))}
      </Group>
    </Stack>
  );
}
