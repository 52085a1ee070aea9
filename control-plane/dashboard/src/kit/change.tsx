// A change: asked once, what is wrong is said where it was asked, and what needs a fresh proof asks for one and goes on.
import { Alert, Button, Group, PasswordInput, Stack, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient, type UseMutationResult } from "@tanstack/react-query";
import { createContext, use, useCallback, useRef, useState, type ReactNode } from "react";
import { useTranslations } from "use-intl";
import { api, ApiError, ask } from "../api/client";
import { me } from "../api/queries";
import { Window } from "./window";

type Prove = () => Promise<boolean>;
const ProveContext = createContext<Prove>(() => Promise.resolve(false));

/** Runs `change`; afterwards what begins with these keys is asked anew. */
export function useChange<T, V = void>(
  change: (value: V) => Promise<T>,
  { old = [], done }: { old?: readonly (readonly unknown[])[]; done?: (answer: T) => void } = {},
): UseMutationResult<T, Error, V> {
  const queries = useQueryClient();
  const prove = use(ProveContext);
  return useMutation<T, Error, V>({
    mutationFn: async (value) => {
      try {
        return await change(value);
      } catch (error) {
        if (!(error instanceof ApiError && error.kind === "step-up-required" && (await prove()))) throw error;
        return change(value);
      }
    },
    onSuccess: async (answer) => {
      done?.(answer);
      await Promise.all(old.map((queryKey) => queries.invalidateQueries({ queryKey })));
    },
  });
}

export function WentWrong({ error }: { error: Error | null }) {
  const t = useTranslations("failed");
  if (!error) return null;
  const fields = error instanceof ApiError ? (error.problem?.fields ?? []) : [];
  return (
    <Alert color="red" title={t("change")} role="alert">
      <Text size="sm">{error instanceof ApiError ? error.message : t("offline")}</Text>
      {fields.map((field) => (
        <Text size="sm" key={field.pointer}>
          {field.pointer}: {field.message}
        </Text>
      ))}
    </Alert>
  );
}

export function ProveProvider({ children }: { children: ReactNode }) {
  const t = useTranslations();
  const [open, setOpen] = useState(false);
  const answer = useRef<(proven: boolean) => void>(undefined);
  const prove = useCallback<Prove>(() => {
    setOpen(true);
    return new Promise((resolve) => {
      answer.current = resolve;
    });
  }, []);
  const close = (proven: boolean) => {
    setOpen(false);
    answer.current?.(proven);
  };
  return (
    <ProveContext value={prove}>
      {children}
      <Window opened={open} onClose={() => close(false)} title={t("profile.prove")}>
        {open && <Proving onProven={() => close(true)} />}
      </Window>
    </ProveContext>
  );
}

function Proving({ onProven }: { onProven: () => void }) {
  const t = useTranslations();
  const factor = useQuery(me).data?.second_factor ?? false;
  const [password, setPassword] = useState("");
  const [code, setCode] = useState("");
  const proving = useMutation({
    mutationFn: () => ask(api.POST("/api/v1/me/prove", { body: { password, ...(code && { code }) } })),
    onSuccess: onProven,
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        proving.mutate();
      }}
    >
      <Stack>
        <Text size="sm">{t("profile.proveText")}</Text>
        <PasswordInput
          label={t("common.password")}
          value={password}
          onChange={(event) => setPassword(event.currentTarget.value)}
          autoComplete="current-password"
          required
          data-autofocus
        />
        {factor && (
          <TextInput
            label={t("signIn.code")}
            value={code}
            onChange={(event) => setCode(event.currentTarget.value)}
            autoComplete="one-time-code"
            required
          />
        )}
        <WentWrong error={proving.error} />
        <Group justify="flex-end">
          <Button type="submit" loading={proving.isPending}>
            {t("profile.confirm")}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
