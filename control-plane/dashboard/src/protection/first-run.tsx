// What is left to do after a control plane was set up. Gone when it is done.
import { Group, Text } from "@mantine/core";
import { IconCircle, IconCircleCheck } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useTranslations } from "use-intl";
import { ScreenLink } from "../kit/link";
import { me, protection, useMay, useTree } from "../api/queries";
import { Line, Lines, Panel } from "../kit/parts";

export function FirstRun() {
  const t = useTranslations("firstRun");
  const who = useQuery(me).data;
  const tree = useTree();
  const may = useMay();
  const fleet = useQuery(protection()).data;
  const top = tree.ofKind("organisation")[0];
  if (!who || !fleet || !may(top?.id, "admin") || fleet.sites.length > 0) return null;
  const steps = [
    { key: "factor", done: who.second_factor, to: "/profile" },
    { key: "site", done: tree.ofKind("site").length > 0, to: "/places" },
    { key: "box", done: false, to: "/enrol" },
  ] as const;
  return (
    <Panel title={t("title")}>
      <Lines>
        {steps.map((step) => (
          <Line key={step.key}>
            <Step done={step.done} label={t(step.key)} />
            {!step.done && (
              <ScreenLink to={step.to} aria-label={`${t("go")}: ${t(step.key)}`}>
                {t("go")}
              </ScreenLink>
            )}
          </Line>
        ))}
      </Lines>
    </Panel>
  );
}

function Step({ done, label }: { done: boolean; label: string }) {
  const common = useTranslations("common");
  return (
    <Group gap="xs" wrap="nowrap">
      {done ? <IconCircleCheck size={18} aria-label={common("done")} /> : <IconCircle size={18} aria-hidden />}
      <Text>{label}</Text>
    </Group>
  );
}
