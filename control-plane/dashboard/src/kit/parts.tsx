// Small parts that many screens have: a panel, a list of facts, a list of lines, a table that scrolls by itself, a secret shown once.
import { ActionIcon, Alert, Button, Code, CopyButton, Group, Paper, Stack, Text, Title } from "@mantine/core";
import { IconCheck, IconCopy } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { useTranslations } from "use-intl";
import styles from "./kit.module.css";

export function Panel({ title, actions, children }: { title?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  return (
    <Paper withBorder radius="md" p={{ base: "sm", sm: "md" }} component="section">
      <Stack gap="sm">
        {(title ?? actions) && (
          <Group justify="space-between">
            <Title order={2} size="h4">
              {title}
            </Title>
            {actions}
          </Group>
        )}
        {children}
      </Stack>
    </Paper>
  );
}

/** Names and what they are; what is not known is left out. */
export function Facts({ facts }: { facts: readonly (readonly [string, ReactNode])[] }) {
  const known = facts.filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false);
  return (
    <dl className={styles.facts}>
      {known.map(([name, value]) => (
        <FactRow key={name} name={name} value={value} />
      ))}
    </dl>
  );
}

function FactRow({ name, value }: { name: string; value: ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </>
  );
}

/** The rest of a list that comes by pages. */
export function More({
  list,
}: {
  list: { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage: () => unknown };
}) {
  const t = useTranslations("common");
  if (!list.hasNextPage) return null;
  return (
    <Group>
      <Button variant="default" onClick={() => void list.fetchNextPage()} loading={list.isFetchingNextPage}>
        {t("more")}
      </Button>
    </Group>
  );
}

export function Lines({ children }: { children: ReactNode }) {
  return <ul className={styles.lines}>{children}</ul>;
}

export function Line({ children }: { children: ReactNode }) {
  return <li className={styles.line}>{children}</li>;
}

/** A table wider than the screen scrolls inside its own frame, by keyboard, too. */
export function Scroll({ label, children }: { label: string; children: ReactNode }) {
  return (
    // The frame has to be reached by keyboard to be scrolled.
    <div className={styles.scroll} role="region" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}

export function Copyable({ value }: { value: string }) {
  const t = useTranslations("common");
  return (
    <Group gap="xs" wrap="nowrap" align="flex-start">
      <Code className={styles.code}>{value}</Code>
      <CopyButton value={value}>
        {({ copied, copy }) => (
          <ActionIcon variant="subtle" color="gray" onClick={copy} aria-label={copied ? t("copied") : t("copy")}>
            {copied ? <IconCheck size={16} aria-hidden /> : <IconCopy size={16} aria-hidden />}
          </ActionIcon>
        )}
      </CopyButton>
    </Group>
  );
}

export function Secret({ title, value }: { title: string; value: string }) {
  const t = useTranslations("common");
  return (
    <Alert color="yellow" title={title}>
      <Stack gap="xs">
        <Text size="sm">{t("shownOnce")}</Text>
        <Copyable value={value} />
      </Stack>
    </Alert>
  );
}
