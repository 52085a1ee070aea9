// Who may what, where. A role holds on a node and on all below it.
import { Button, Group, NativeSelect, Stack, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslations } from "use-intl";
import { api, ask } from "../api/client";
import { me, useMay, useTree } from "../api/queries";
import { useChange, WentWrong } from "../kit/change";
import { Dialog, Form, Sure } from "../kit/dialog";
import { Line, Lines, Panel, Secret } from "../kit/parts";
import { Answered, Nothing, Screen } from "../kit/screen";
import { roleOf, ROLES, type Role } from "../kit/tree";
import { gather, type Person } from "./gather";

const KEY = ["accounts"];
export function People() {
  const t = useTranslations("people");
  const tree = useTree();
  const may = useMay();
  const [shown, setShown] = useState<{ email: string; password: string }>();
  const asked = useQuery({
    queryKey: KEY,
    queryFn: async ({ signal }) => (await ask(api.GET("/api/v1/accounts", { signal }))).items,
  });
  return (
    <Screen
      title={t("title")}
      actions={
        tree.nodes.some((node) => may(node.id, "admin")) && (
          <Dialog label={t("add")}>
            {(close) => (
              <NewPerson
                done={(made) => {
                  setShown(made);
                  close();
                }}
              />
            )}
          </Dialog>
        )
      }
    >
      {shown && <Secret title={t("password", { email: shown.email })} value={shown.password} />}
      <Answered asked={asked}>
        {(items) => {
          const people = gather(items);
          return people.length === 0 ? (
            <Nothing title={t("none")} />
          ) : (
            <Panel>
              <Lines>
                {people.map((person) => (
                  <Line key={person.id}>
                    <One person={person} show={setShown} />
                  </Line>
                ))}
              </Lines>
            </Panel>
          );
        }}
      </Answered>
      <Panel>
        {ROLES.map((role) => (
          <Text size="sm" key={role}>
            <b>{t(`roles.${role}`)}</b>: {t(`roleTexts.${role}`)}
          </Text>
        ))}
      </Panel>
    </Screen>
  );
}

function One({ person, show }: { person: Person; show: (made: { email: string; password: string }) => void }) {
  const t = useTranslations("people");
  const tree = useTree();
  const may = useMay();
  const own = useQuery(me).data?.account === person.id;
  const path = { params: { path: { account: person.id } } };
  const reset = useChange(() => ask(api.POST("/api/v1/accounts/{account}/reset", path)), {
    done: ({ password }) => show({ email: person.email, password }),
  });
  const end = useChange(() => ask(api.DELETE("/api/v1/accounts/{account}", path)), { old: [KEY] });
  const administers = person.grants.every((grant) => may(grant.node, "admin"));
  return (
    <Stack gap={4}>
      <Group justify="space-between">
        <Text fw={500}>{person.email}</Text>
        {administers && !own && (
          <Group gap="xs">
            <Dialog
              label={t("change")}
              title={`${t("change")}: ${person.email}`}
              button={{ size: "xs", variant: "default" }}
            >
              {(close) => <ChangeRole person={person} done={close} />}
            </Dialog>
            <Button size="xs" variant="default" onClick={() => reset.mutate()} loading={reset.isPending}>
              {t("reset")}
            </Button>
            <Sure label={t("end")} question={t("endSure", { email: person.email })} change={end} />
          </Group>
        )}
      </Group>
      {person.grants.map((grant) => (
        <Text size="sm" c="dimmed" key={grant.node}>
          {t("grants", { role: t(`roles.${roleOf(grant.role)}`), place: tree.name(grant.node) })}
        </Text>
      ))}
      <WentWrong error={reset.error} />
    </Stack>
  );
}

function useChoice() {
  const t = useTranslations("people");
  const tree = useTree();
  const may = useMay();
  const places = tree.nodes
    .filter((node) => may(node.id, "admin"))
    .map((node) => ({ value: node.id, label: tree.name(node.id) }));
  const roles = ROLES.map((role) => ({ value: role, label: t(`roles.${role}`) }));
  return { places, roles };
}

function NewPerson({ done }: { done: (made: { email: string; password: string }) => void }) {
  const t = useTranslations();
  const { places, roles } = useChoice();
  const [email, setEmail] = useState("");
  const [node, setNode] = useState(places[0]?.value ?? "");
  const [role, setRole] = useState<Role>("viewer");
  const change = useChange(() => ask(api.POST("/api/v1/accounts", { body: { email, node, role } })), {
    old: [KEY],
    done: ({ password }) => done({ email, password }),
  });
  return (
    <Form onSubmit={() => change.mutate()} busy={change.isPending} error={change.error} submit={t("people.invite")}>
      <TextInput
        label={t("common.email")}
        type="email"
        value={email}
        onChange={(event) => setEmail(event.currentTarget.value)}
        required
        data-autofocus
      />
      <NativeSelect
        label={t("common.where")}
        value={node}
        onChange={(event) => setNode(event.currentTarget.value)}
        data={places}
      />
      <NativeSelect
        label={t("common.role")}
        value={role}
        onChange={(event) => setRole(roleOf(event.currentTarget.value))}
        data={roles}
      />
    </Form>
  );
}

function ChangeRole({ person, done }: { person: Person; done: () => void }) {
  const t = useTranslations();
  const { places, roles } = useChoice();
  const [node, setNode] = useState(person.grants[0]?.node ?? places[0]?.value ?? "");
  const [role, setRole] = useState(person.grants[0]?.role ?? "viewer");
  const change = useChange(
    () =>
      ask(
        api.PUT("/api/v1/accounts/{account}/grants", {
          params: { path: { account: person.id } },
          body: { node, ...(role !== "" && { role: roleOf(role) }) },
        }),
      ),
    { old: [KEY], done },
  );
  return (
    <Form onSubmit={() => change.mutate()} busy={change.isPending} error={change.error} submit={t("common.save")}>
      <NativeSelect
        label={t("common.where")}
        value={node}
        onChange={(event) => setNode(event.currentTarget.value)}
        data={places}
      />
      <NativeSelect
        label={t("common.role")}
        value={role}
        onChange={(event) => setRole(event.currentTarget.value)}
        data={[...roles, { value: "", label: t("common.none") }]}
      />
    </Form>
  );
}
