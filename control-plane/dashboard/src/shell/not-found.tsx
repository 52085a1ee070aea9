// An address that leads nowhere.
import { Center, Stack, Text, Title } from "@mantine/core";
import { useEffect } from "react";
import { useTranslations } from "use-intl";
import { ScreenLink } from "../kit/link";

export function NotFound() {
  const t = useTranslations("app");
  useEffect(() => {
    document.title = `${t("notFound")} · SaveOS`;
  }, [t]);
  return (
    <Center component="main" mih="60vh" p="sm">
      <Stack gap="xs" align="center" ta="center">
        <Title order={1} size="h3">
          {t("notFound")}
        </Title>
        <Text size="sm">{t("notFoundText")}</Text>
        <ScreenLink to="/">{t("home")}</ScreenLink>
      </Stack>
    </Center>
  );
}
