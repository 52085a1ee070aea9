// All that a box said, word by word, the newest first.
import { Code, Group, Stack, Text } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useTranslations } from "use-intl";
import { facts } from "../api/queries";
import { Line, Lines, More, Panel } from "../kit/parts";
import { Answered, Nothing } from "../kit/screen";
import { Ago } from "../kit/words";

export default function Events({ id }: { id: string }) {
  const t = useTranslations();
  const asked = useInfiniteQuery(facts(id));
  return (
    <Answered asked={asked}>
      {({ pages }) => {
        const all = pages.flatMap((page) => page.items);
        if (all.length === 0) return <Nothing title={t("box.noEvents")} />;
        return (
          <Panel>
            <Lines>
              {all.map((event) => (
                <Line key={event.seq}>
                  <Stack gap={2}>
                    <Group justify="space-between">
                      <Text fw={500}>{event.kind.replaceAll("_", " ")}</Text>
                      <Text size="sm" c="dimmed">
                        <Ago at={event.at_ms} />
                      </Text>
                    </Group>
                    <details>
                      <summary>
                        {t("common.details")}{" "}
                        <span className="visually-hidden">{`${event.kind} ${String(event.n)}`}</span>
                      </summary>
                      <Code block tabIndex={0}>
                        {JSON.stringify(event.fact?.body ?? null, null, 2)}
                      </Code>
                    </details>
                  </Stack>
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
