// One's own account: how the dashboard looks, password, second factor, sessions, tokens for programs.
import {
  Button,
  NativeSelect,
  PasswordInput,
  SimpleGrid,
  Stack,
  Text,
  TextInput,
  useMantineColorScheme,
} from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslations } from "use-intl";
import { api, ask } from "../api/client";
import { me, useMay, useTree } from "../api/queries";
import { useChange, WentWrong } from "../kit/change";
import { Dialog, Form, Sure } from "../kit/dialog";
import { Line, Lines, Panel, Secret } from "../kit/parts";
import { Answered, Nothing, Screen } from "../kit/screen";
import { Status } from "../kit/status";
import { roleOf, ROLES, type Role } from "../kit/tree";
import { Ago, useMoment } from "../kit/words";
import { LANGUAGES, useLanguage } from "../text/text";
import { Factor } from "./factor";

export function Profile() {
  const t = useTranslations("profile");
  const asked = useQuery(me);
  const tree = useTree();
  const people = useTranslations("people");
  return (
    <Screen title={t("title")}>
      <Answered asked={asked}>
        {(who) => (
          <>
            <Text>
              {who.email} ·{" "}
              {who.grants
                .map((grant) => {
                  const place = tree.name(grant.path.split("/").at(-2) ?? "");
                  return people("grants", { role: people(`roles.${grant.role}`), place });
                })
                .join(" · ")}
            </Text>
            <Appearance />
            <Password factor={who.second_factor} />
            <Factor on={who.second_factor} />
            <Sessions />
            <Tokens />
          </>
        )}
      </Answered>
    </Screen>
  );
}

function Appearance() {
  const t = useTranslations("profile");
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const { language, choose } = useLanguage();
  const themes = ["auto", "light", "dark"] as const;
  return (
    <Panel title={t("appearance")}>
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <NativeSelect
          label={t("theme")}
          value={colorScheme}
          onChange={(event) => setColorScheme(themes.find((theme) => theme === event.currentTarget.value) ?? "auto")}
          data={themes.map((value) => ({ value, label: t(`themes.${value}`) }))}
        />
        <NativeSelect
          label={t("language")}
          value={language}
          onChange={(event) => choose(LANGUAGES.find((language) => language === event.currentTarget.value) ?? "en")}
          data={LANGUAGES.map((value) => ({ value, label: t(`languages.${value}`) }))}
        />
      </SimpleGrid>
    </Panel>
  );
}

function Password({ factor }: { factor: boolean }) {
  const t = useTranslations("profile");
  const common = useTranslations("signIn");
  const [current, setCurrent] = useState("");
  const [fresh, setFresh] = useState("");
  const [code, setCode] = useState("");
  const change = useChange(
    () => ask(api.POST("/api/v1/me/password", { body: { password: current, new: fresh, ...(code && { code }) } })),
    {
      old: [["sessions"]],
      done: () => {
        setCurrent("");
        setFresh("");
        setCode("");
      },
    },
  );
  return (
    <Panel title={t("password")}>
      <Form onSubmit={() => change.mutate()} busy={change.isPending} error={change.error} submit={t("change")}>
        <PasswordInput
          label={t("current")}
          value={current}
          onChange={(event) => setCurrent(event.currentTarget.value)}
          autoComplete="current-password"
          required
        />
        <PasswordInput
          label={t("fresh")}
          description={t("freshHint")}
          value={fresh}
          onChange={(event) => setFresh(event.currentTarget.value)}
          autoComplete="new-password"
          minLength={12}
          required
        />
        {factor && (
          <TextInput
            label={common("code")}
            value={code}
            onChange={(event) => setCode(event.currentTarget.value)}
            autoComplete="one-time-code"
            required
          />
        )}
        {change.isSuccess && (
          <span role="status">
            <Status tone="good">{t("changed")}</Status>
          </span>
        )}
      </Form>
    </Panel>
  );
}

function Sessions() {
  const t = useTranslations("profile");
  const common = useTranslations("common");
  const asked = useQuery({
    queryKey: ["sessions"],
    queryFn: async ({ signal }) => (await ask(api.GET("/api/v1/me/sessions", { signal }))).items,
  });
  const ending = useChange(
    (session: string) => ask(api.DELETE("/api/v1/me/sessions/{session}", { params: { path: { session } } })),
    { old: [["sessions"]] },
  );
  return (
    <Panel title={t("sessions")}>
      <WentWrong error={ending.error} />
      <Answered asked={asked}>
        {(items) => (
          <Lines>
            {items.map((session) => (
              <Line key={session.id}>
                <Stack gap={0}>
                  <Text size="sm">{session.agent || common("unknown")}</Text>
                  <Text size="sm" c="dimmed">
                    {session.this && <b>{t("thisOne")} · </b>}
                    <Ago at={session.made_ms} />
                  </Text>
                </Stack>
                {!session.this && (
                  <Button
                    size="xs"
                    variant="default"
                    onClick={() => ending.mutate(session.id)}
                    aria-label={`${common("end")}: ${session.agent} ${session.id}`}
                  >
                    {common("end")}
                  </Button>
                )}
              </Line>
            ))}
          </Lines>
        )}
      </Answered>
    </Panel>
  );
}

function Tokens() {
  const t = useTranslations("profile");
  const common = useTranslations("common");
  const people = useTranslations("people");
  const tree = useTree();
  const moment = useMoment();
  const [made, setMade] = useState<string>();
  const asked = useQuery({
    queryKey: ["tokens"],
    queryFn: async ({ signal }) => (await ask(api.GET("/api/v1/me/tokens", { signal }))).items,
  });
  return (
    <Panel
      title={t("tokens")}
      actions={
        <Dialog label={t("addToken")} button={{ size: "xs", variant: "default" }}>
          {(close) => (
            <NewToken
              done={(token) => {
                setMade(token);
                close();
              }}
            />
          )}
        </Dialog>
      }
    >
      <Text size="sm">{t("tokenText")}</Text>
      {made && <Secret title={t("newToken")} value={made} />}
      <Answered asked={asked}>
        {(items) =>
          items.length === 0 ? (
            <Nothing title={t("noTokens")} />
          ) : (
            <Lines>
              {items.map((token) => (
                <Line key={token.id}>
                  <Stack gap={0}>
                    <Text>{token.name}</Text>
                    <Text size="sm" c="dimmed">
                      {people("grants", { role: people(`roles.${roleOf(token.role)}`), place: tree.name(token.node) })}{" "}
                      · {common("until")} {moment(token.until_ms)}
                      {token.used_ms != null && (
                        <>
                          {" · "}
                          <Ago at={token.used_ms} />
                        </>
                      )}
                    </Text>
                  </Stack>
                  <EndToken id={token.id} name={token.name} />
                </Line>
              ))}
            </Lines>
          )
        }
      </Answered>
    </Panel>
  );
}

function EndToken({ id, name }: { id: string; name: string }) {
  const common = useTranslations("common");
  const change = useChange(() => ask(api.DELETE("/api/v1/me/tokens/{token}", { params: { path: { token: id } } })), {
    old: [["tokens"]],
  });
  return <Sure label={common("end")} question={name} change={change} />;
}

function NewToken({ done }: { done: (token: string) => void }) {
  const t = useTranslations();
  const tree = useTree();
  const may = useMay();
  const places = tree.nodes.filter((node) => may(node.id, "viewer"));
  const [name, setName] = useState("");
  const [node, setNode] = useState(places[0]?.id ?? "");
  const [role, setRole] = useState<Role>("viewer");
  const [days, setDays] = useState("90");
  const change = useChange(
    () => {
      const until_ms = Date.now() + Number(days) * 86_400_000;
      return ask(api.POST("/api/v1/me/tokens", { body: { name, node, role, until_ms } }));
    },
    { old: [["tokens"]], done: ({ token }) => done(token) },
  );
  return (
    <Form onSubmit={() => change.mutate()} busy={change.isPending} error={change.error} submit={t("profile.addToken")}>
      <TextInput
        label={t("common.name")}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
        maxLength={100}
        required
        data-autofocus
      />
      <NativeSelect
        label={t("common.where")}
        value={node}
        onChange={(event) => setNode(event.currentTarget.value)}
        data={places.map((node) => ({ value: node.id, label: tree.name(node.id) }))}
      />
      <NativeSelect
        label={t("common.role")}
        value={role}
        onChange={(event) => setRole(roleOf(event.currentTarget.value))}
        data={ROLES.map((value) => ({ value, label: t(`people.roles.${value}`) }))}
      />
      <NativeSelect
        label={t("common.until")}
        value={days}
        onChange={(event) => setDays(event.currentTarget.value)}
        data={[7, 30, 90, 365].map((count) => ({ value: String(count), label: t("common.days", { count }) }))}
      />
    </Form>
  );
}
