// The frame of a screen: its title in the page and in the tab, what can be done with it, and what is shown until there is an answer.
import { Alert, Button, Group, Skeleton, Stack, Text, Title } from "@mantine/core";
import { IconInfoCircle } from "@tabler/icons-react";
import { useEffect, type ReactNode } from "react";
import { useTranslations } from "use-intl";
import { ApiError } from "../api/client";

export function Screen({ title, actions, children }: { title: string; actions?: ReactNode; children: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · SaveOS`;
  }, [title]);
  return (
    <Stack gap="lg">
      <Group justify="space-between" align="center">
        <Title order={1} size="h2">
          {title}
        </Title>
        {actions && <Group gap="sm">{actions}</Group>}
      </Group>
      {children}
    </Stack>
  );
}

interface Asked<T> {
  data: T | undefined;
  error: Error | null;
  refetch: () => unknown;
}

/** The answer, or a picture of it to come, or what is wrong and what to do. An answer that grew old stays on the screen. */
export function Answered<T>({ asked, children }: { asked: Asked<T>; children: (data: T) => ReactNode }) {
  if (asked.data !== undefined) return <>{children(asked.data)}</>;
  if (asked.error) return <Failed error={asked.error} again={() => void asked.refetch()} />;
  return <Waiting />;
}

export function Waiting() {
  const t = useTranslations("common");
  return (
    <Stack gap="sm" role="status" aria-label={t("loading")}>
      <Skeleton height={28} width="40%" />
      <Skeleton height={72} />
      <Skeleton height={72} />
    </Stack>
  );
}

export function Failed({ error, again }: { error: Error; again?: () => void }) {
  const t = useTranslations("failed");
  const common = useTranslations("common");
  const status = error instanceof ApiError ? error.status : 0;
  const [title, text] =
    status === 403
      ? [t("forbidden"), t("forbiddenText")]
      : status === 404
        ? [t("missing"), t("missingText")]
        : status === 0
          ? [t("offline"), t("offlineText")]
          : [t("title"), error.message];
  return (
    <Alert color="red" title={title} icon={<IconInfoCircle aria-hidden />} role="alert">
      <Stack gap="sm" align="flex-start">
        <Text size="sm">{text}</Text>
        {again && status !== 403 && status !== 404 && (
          <Button variant="default" size="xs" onClick={again}>
            {common("again")}
          </Button>
        )}
      </Stack>
    </Alert>
  );
}

export function Nothing({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <Stack gap="xs" align="center" py="xl" ta="center">
      <Text fw={600}>{title}</Text>
      {children}
    </Stack>
  );
}
