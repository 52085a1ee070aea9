// The first administrator, made by whoever holds the link that `saveos-server init` showed. The link counts once.
import { Alert, Button, PasswordInput, Text, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRouter } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslations } from "use-intl";
import { api, ApiError, ask } from "../api/client";
import { Door } from "./door";

export function SetUp() {
  const t = useTranslations("setUp");
  const common = useTranslations("common");
  const router = useRouter();
  const queries = useQueryClient();
  // Behind `#`, where no server and no other page sees it.
  const [token] = useState(() => router.latestLocation.hash);
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");
  const differs = again !== "" && again !== password;

  const making = useMutation({
    mutationFn: async () => {
      await ask(api.POST("/api/v1/setup", { body: { token, email, password } }));
      await ask(api.POST("/api/v1/login", { body: { email, password } }));
    },
    onSuccess: () => {
      queries.clear();
      router.history.replace("/");
    },
  });

  return (
    <Door
      title={t("title")}
      onSubmit={() => {
        if (again === password) making.mutate();
      }}
    >
      <Text size="sm">{t("what")}</Text>
      {token === "" && <Alert color="yellow">{t("noToken")}</Alert>}
      <TextInput
        label={common("email")}
        type="email"
        autoComplete="username"
        value={email}
        onChange={(event) => setEmail(event.currentTarget.value)}
        required
      />
      <PasswordInput
        label={common("password")}
        description={t("passwordHint")}
        autoComplete="new-password"
        minLength={12}
        value={password}
        onChange={(event) => setPassword(event.currentTarget.value)}
        required
      />
      <PasswordInput
        label={t("again")}
        autoComplete="new-password"
        value={again}
        onChange={(event) => setAgain(event.currentTarget.value)}
        error={differs && t("differs")}
        required
      />
      {making.error && (
        <Alert color="red" role="alert">
          <WhatIsWrong error={making.error} />
        </Alert>
      )}
      <Button type="submit" loading={making.isPending} disabled={token === ""}>
        {t("button")}
      </Button>
    </Door>
  );
}

function WhatIsWrong({ error }: { error: Error }) {
  const t = useTranslations("setUp");
  const failed = useTranslations("failed");
  if (!(error instanceof ApiError)) return failed("offline");
  return error.status === 404 ? t("used") : error.message;
}
