// Customers and their sites: the tree on which boxes, roles and policies hang.
import { Group, Stack, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslations } from "use-intl";
import { ScreenLink } from "../kit/link";
import { api, ask, type Node } from "../api/client";
import { protection, tree as treeQuery, useMay } from "../api/queries";
import { useChange } from "../kit/change";
import { Dialog, Form } from "../kit/dialog";
import { Line, Lines, Panel } from "../kit/parts";
import { Answered, Nothing, Screen } from "../kit/screen";

export function Places() {
  const t = useTranslations("places");
  const may = useMay();
  const asked = useQuery(treeQuery);
  const counts = new Map((useQuery(protection()).data?.sites ?? []).map((site) => [site.site, site.boxes]));
  return (
    <Answered asked={asked}>
      {(tree) => {
        const top = tree.ofKind("organisation")[0];
        const customers = tree.ofKind("customer");
        const loose = tree.ofKind("site").filter((site) => !tree.customerOf(site.id));
        return (
          <Screen
            title={t("title")}
            actions={top && may(top.id, "admin") && <Add parent={top.id} kind="customer" label={t("addCustomer")} />}
          >
            {customers.length + loose.length === 0 && <Nothing title={t("none")} />}
            {customers.slice(0, 500).map((customer) => (
              <Customer key={customer.id} node={customer} sites={tree.children(customer.id)} counts={counts} />
            ))}
            {loose.length > 0 && <Customer sites={loose} counts={counts} />}
          </Screen>
        );
      }}
    </Answered>
  );
}

function Customer({
  node,
  sites,
  counts,
}: {
  node?: Node;
  sites: readonly Node[];
  counts: ReadonlyMap<string, number>;
}) {
  const t = useTranslations("places");
  const may = useMay();
  return (
    <Panel
      title={node?.name}
      actions={
        node && (
          <Group gap="sm">
            <Links node={node} />
            {may(node.id, "admin") && <Add parent={node.id} kind="site" label={t("addSite")} of={node.name} />}
          </Group>
        )
      }
    >
      {sites.length === 0 ? (
        <Text size="sm" c="dimmed">
          {t("noSites")}
        </Text>
      ) : (
        <Lines>
          {sites.map((site) => (
            <Line key={site.id}>
              <Stack gap={0}>
                <ScreenLink to="/fleet" search={{ node: site.id }}>
                  {site.name}
                </ScreenLink>
                <Text size="sm" c="dimmed">
                  {t("boxes", { count: counts.get(site.id) ?? 0 })}
                </Text>
              </Stack>
              <Links node={site} />
            </Line>
          ))}
        </Lines>
      )}
    </Panel>
  );
}

function Links({ node }: { node: Node }) {
  const t = useTranslations("places");
  return (
    <Group gap="sm">
      <ScreenLink to="/policies" search={{ node: node.id }} size="sm" aria-label={`${t("policy")}: ${node.name}`}>
        {t("policy")}
      </ScreenLink>
      <ScreenLink to="/reports" search={{ node: node.id }} size="sm" aria-label={`${t("report")}: ${node.name}`}>
        {t("report")}
      </ScreenLink>
    </Group>
  );
}

function Add({ parent, kind, label, of }: { parent: string; kind: "customer" | "site"; label: string; of?: string }) {
  const common = useTranslations("common");
  const [name, setName] = useState("");
  const change = useChange(() => ask(api.POST("/api/v1/nodes", { body: { parent, kind, name } })), {
    old: [["nodes"]],
  });
  return (
    <Dialog
      label={label}
      title={of ? `${label}: ${of}` : label}
      button={{ size: "xs", variant: kind === "customer" ? "filled" : "default" }}
    >
      {(close) => (
        <Form
          onSubmit={() =>
            change.mutate(undefined, {
              onSuccess: () => {
                setName("");
                close();
              },
            })
          }
          busy={change.isPending}
          error={change.error}
          submit={label}
        >
          <TextInput
            label={common("name")}
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
            maxLength={100}
            required
            data-autofocus
          />
        </Form>
      )}
    </Dialog>
  );
}
