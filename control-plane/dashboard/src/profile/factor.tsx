// The second factor: made by the server, scanned by an app, in force when its first code fits.
import { Button, Code, Group, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { useState } from "react";
import { encode } from "uqr";
import { useTranslations } from "use-intl";
import { api, ask } from "../api/client";
import { useChange, WentWrong } from "../kit/change";
import { Form, Sure } from "../kit/dialog";
import { Copyable, Panel } from "../kit/parts";
import { Status } from "../kit/status";

export function Factor({ on }: { on: boolean }) {
  const t = useTranslations("profile");
  const [codes, setCodes] = useState<readonly string[]>();
  const [code, setCode] = useState("");
  const making = useChange(() => ask(api.POST("/api/v1/me/second-factor")));
  const confirming = useChange(() => ask(api.POST("/api/v1/me/second-factor/confirm", { body: { code } })), {
    old: [["me"]],
    done: (answer) => {
      setCodes(answer.codes);
      making.reset();
    },
  });
  const ending = useChange(() => ask(api.DELETE("/api/v1/me/second-factor")), { old: [["me"]] });
  return (
    <Panel title={t("factor")}>
      <Group justify="space-between">
        <Status tone={on ? "good" : "warn"}>{t(on ? "factorOn" : "factorOff")}</Status>
        {on ? (
          <Sure label={t("turnOff")} question={t("factorOff")} change={ending} />
        ) : (
          <Button size="xs" onClick={() => making.mutate()} loading={making.isPending}>
            {t("turnOn")}
          </Button>
        )}
      </Group>
      <WentWrong error={making.error} />
      {making.data && !on && (
        <Form
          onSubmit={() => confirming.mutate()}
          busy={confirming.isPending}
          error={confirming.error}
          submit={t("confirm")}
        >
          <Text size="sm">{t("scan")}</Text>
          <Qr text={making.data.url} label={t("qr")} />
          <Copyable value={making.data.url} />
          <TextInput
            label={t("confirm")}
            value={code}
            onChange={(event) => setCode(event.currentTarget.value)}
            inputMode="numeric"
            autoComplete="one-time-code"
            required
          />
        </Form>
      )}
      {codes && (
        <Stack gap="xs">
          <Text fw={600}>{t("recovery")}</Text>
          <Text size="sm">{t("recoveryText")}</Text>
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            {codes.map((code) => (
              <Code key={code}>{code}</Code>
            ))}
          </SimpleGrid>
        </Stack>
      )}
    </Panel>
  );
}

/** Dark on light in both themes: a camera expects it so. */
function Qr({ text, label }: { text: string; label: string }) {
  const { data, size } = encode(text, { border: 2 });
  const path = data.flatMap((row, y) => row.flatMap((dark, x) => (dark ? `M${String(x)} ${String(y)}h1v1h-1z` : [])));
  return (
    <svg viewBox={`0 0 ${String(size)} ${String(size)}`} width={200} height={200} role="img" aria-label={label}>
      <rect width={size} height={size} fill="#fff" />
      <path d={path.join("")} fill="#000" />
    </svg>
  );
}
