// The door. A second factor is asked for when the account has one.
import { Alert, Button, PasswordInput, Text, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, useRouter } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslations } from "use-intl";
import { api, ApiError, ask } from "../api/client";
import { Door } from "./door";

const route = getRouteApi("/sign-in");

export function SignIn() {
  const t = useTranslations("signIn");
  const common = useTranslations("common");
  const { to, ended } = route.useSearch();
  const router = useRouter();
  const queries = useQueryClient();
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [code, setCode] = useState("");
  const [asksCode, setAsksCode] = useState(false);

  const signing = useMutation({
    mutationFn: () => ask(api.POST("/api/v1/login", { body: { email, password, ...(code && { code }) } })),
    onSuccess: () => {
      queries.clear();
      router.history.push(to ?? "/");
    },
    onError: (error) => {
      if (error instanceof ApiError && error.kind === "step-up-required") setAsksCode(true);
    },
  });
  const said = signing.error && !(signing.error instanceof ApiError && signing.error.kind === "step-up-required");

  return (
    <Door title={t("title")} onSubmit={() => signing.mutate()}>
      {ended && !signing.error && <Alert color="yellow">{t("ended")}</Alert>}
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
        autoComplete="current-password"
        value={password}
        onChange={(event) => setPassword(event.currentTarget.value)}
        required
      />
      {asksCode && (
        <TextInput
          label={t("code")}
          description={t("codeHint")}
          autoComplete="one-time-code"
          value={code}
          onChange={(event) => setCode(event.currentTarget.value)}
          autoFocus
          required
        />
      )}
      {said && <WhatIsWrong error={signing.error} hasCode={code !== ""} />}
      <Button type="submit" loading={signing.isPending}>
        {t("button")}
      </Button>
      <Text size="sm" c="dimmed">
        {t("first")}
      </Text>
    </Door>
  );
}

function WhatIsWrong({ error, hasCode }: { error: Error; hasCode: boolean }) {
  const t = useTranslations("signIn");
  const failed = useTranslations("failed");
  const status = error instanceof ApiError ? error.status : 0;
  const wait = error instanceof ApiError ? (error.problem?.retry_after_s ?? 60) : 60;
  const text =
    status === 429
      ? t("later", { minutes: Math.ceil(wait / 60) })
      : status === 401
        ? t(hasCode ? "wrongCode" : "wrong")
        : status === 0
          ? failed("offline")
          : error.message;
  return (
    <Alert color="red" role="alert">
      {text}
    </Alert>
  );
}
