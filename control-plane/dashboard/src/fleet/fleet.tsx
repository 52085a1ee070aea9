// All boxes that one may see: filtered, sorted and searched by the server, as long as the fleet is. The address is the view.
import { Button, Checkbox, Group, NativeSelect, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { useDebouncedCallback, useMediaQuery } from "@mantine/hooks";
import { IconDownload } from "@tabler/icons-react";
import { getRouteApi } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useRef, useState } from "react";
import { useTranslations } from "use-intl";
import { ScreenLink } from "../kit/link";
import type { Appliance } from "../api/client";
import { useTree } from "../api/queries";
import { Failed, Nothing, Screen, Waiting } from "../kit/screen";
import { Presence, Protected, Status } from "../kit/status";
import type { Tree } from "../kit/tree";
import { Ago } from "../kit/words";
import { BulkActions } from "./bulk-actions";
import styles from "./fleet.module.css";
import { usePages } from "./pages";
import { asQuery, isFiltered, PRESENCES, SORTS, type FleetSearch } from "./search";
import { Views } from "./views";

const route = getRouteApi("/inside/fleet");

export function Fleet() {
  const t = useTranslations("fleet");
  const search = route.useSearch();
  const { sort: _sort, ...filter } = asQuery(search);
  const csv = new URLSearchParams(
    Object.entries(filter)
      .filter(([name]) => name !== "limit")
      .map(([name, value]) => [name, String(value)]),
  );
  return (
    <Screen
      title={t("title")}
      actions={
        <>
          <ScreenLink to="/bulk">{t("asked")}</ScreenLink>
          <Views />
          <Button
            component="a"
            href={`/api/v1/appliances.csv?${csv.toString()}`}
            download
            variant="default"
            leftSection={<IconDownload size={16} aria-hidden />}
          >
            {t("csv")}
          </Button>
        </>
      }
    >
      <Filters search={search} />
      <List search={search} key={JSON.stringify(search)} />
    </Screen>
  );
}

function Filters({ search }: { search: FleetSearch }) {
  const t = useTranslations();
  const tree = useTree();
  const navigate = route.useNavigate();
  const change = (part: Partial<Record<keyof FleetSearch, unknown>>) =>
    void navigate({
      search: (before) =>
        Object.fromEntries(Object.entries({ ...before, ...part }).filter(([, value]) => value !== undefined)),
      replace: true,
    });
  const [name, setName] = useState(search.name ?? "");
  const find = useDebouncedCallback((name: string) => change({ name: name || undefined }), 250);
  const [tag, setTag] = useState(search.tag ?? "");
  const findTag = useDebouncedCallback((tag: string) => change({ tag: tag || undefined }), 250);
  const state = search.flagged ? "flagged" : search.protected === undefined ? "" : String(search.protected);
  const places = [...tree.nodes].filter((node) => node.kind !== "organisation");
  return (
    <SimpleGrid cols={{ base: 2, sm: 3, lg: 6 }} spacing="sm" verticalSpacing="sm">
      <TextInput
        label={t("fleet.search")}
        type="search"
        value={name}
        onChange={(event) => {
          setName(event.currentTarget.value);
          find(event.currentTarget.value);
        }}
        maxLength={100}
      />
      <NativeSelect
        label={t("fleet.protection")}
        value={state}
        onChange={({ currentTarget: { value } }) =>
          change({
            flagged: value === "flagged" || undefined,
            protected: value === "" || value === "flagged" ? undefined : value === "true",
          })
        }
        data={[
          { value: "", label: t("common.all") },
          { value: "false", label: t("fleet.notProtected") },
          { value: "true", label: t("fleet.protected") },
          { value: "flagged", label: t("fleet.flagged") },
        ]}
      />
      <NativeSelect
        label={t("fleet.presence")}
        value={search.presence ?? ""}
        onChange={({ currentTarget: { value } }) => change({ presence: value || undefined })}
        data={[
          { value: "", label: t("common.all") },
          ...PRESENCES.map((value) => ({ value, label: t(`presence.${value}`) })),
        ]}
      />
      {places.length <= 500 && (
        <NativeSelect
          label={t("common.where")}
          value={search.node ?? ""}
          onChange={({ currentTarget: { value } }) => change({ node: value || undefined })}
          data={[
            { value: "", label: t("common.organisation") },
            ...places.map((node) => ({ value: node.id, label: tree.name(node.id) })),
          ]}
        />
      )}
      <TextInput
        label={t("fleet.tag")}
        value={tag}
        onChange={(event) => {
          setTag(event.currentTarget.value);
          findTag(event.currentTarget.value);
        }}
        maxLength={40}
      />
      <NativeSelect
        label={t("fleet.sort")}
        value={search.sort ?? "protected"}
        onChange={({ currentTarget: { value } }) => change({ sort: value })}
        data={SORTS.map((value) => ({ value, label: t(`fleet.sorts.${value}`) }))}
      />
      {isFiltered(search) && (
        <Button
          variant="subtle"
          style={{ alignSelf: "end" }}
          onClick={() => {
            setName("");
            setTag("");
            void navigate({ search: search.sort ? { sort: search.sort } : {}, replace: true });
          }}
        >
          {t("fleet.clear")}
        </Button>
      )}
    </SimpleGrid>
  );
}

function List({ search }: { search: FleetSearch }) {
  const t = useTranslations("fleet");
  const tree = useTree();
  const frame = useRef<HTMLDivElement>(null);
  const narrow = useMediaQuery("(max-width: 62em)");
  const [range, setRange] = useState<[number, number]>([0, 20]);
  const [selected, setSelected] = useState<ReadonlyMap<string, string>>(new Map());
  const pages = usePages(search, ...range);
  const rows = useVirtualizer({
    count: pages.count,
    getScrollElement: () => frame.current,
    estimateSize: () => (narrow ? 84 : 60),
    overscan: 12,
    onChange: (list) => {
      const [first, last] = [list.range?.startIndex ?? 0, list.range?.endIndex ?? 0];
      const wanted: [number, number] = [Math.max(0, first - 12), last + 12];
      setRange((was) => (was[0] === wanted[0] && was[1] === wanted[1] ? was : wanted));
    },
  });
  const toggle = (box: Appliance) => {
    const next = new Map(selected);
    if (!next.delete(box.id)) next.set(box.id, box.name);
    setSelected(next);
  };
  if (!pages.loaded) return pages.error ? <Failed error={pages.error} again={pages.again} /> : <Waiting />;
  return (
    <Stack gap="xs">
      <Group justify="space-between" mih={36}>
        <Text size="sm" c="dimmed" role="status">
          {pages.ended ? t("loaded", { count: pages.count }) : t("loadedMore", { count: Math.max(0, pages.count - 1) })}
        </Text>
        {selected.size > 0 && <BulkActions selected={selected} clear={() => setSelected(new Map())} />}
      </Group>
      {pages.count === 0 ? (
        <Nothing title={t("empty")}>
          <Text size="sm">{t("emptyText")}</Text>
        </Nothing>
      ) : (
        <div className={styles.frame} ref={frame} role="table" aria-label={t("list")} aria-rowcount={-1} tabIndex={0}>
          <div role="rowgroup" className={styles.head}>
            <Head />
          </div>
          <div className={styles.space} role="rowgroup" style={{ height: rows.getTotalSize() }}>
            {rows.getVirtualItems().map((item) => {
              const box = pages.row(item.index);
              return (
                <div
                  key={item.key}
                  role="row"
                  aria-rowindex={item.index + 2}
                  className={styles.row}
                  style={{ transform: `translateY(${String(item.start)}px)` }}
                >
                  {box ? (
                    <Row box={box} tree={tree} selected={selected.has(box.id)} toggle={() => toggle(box)} />
                  ) : (
                    <span role="cell">…</span>
                  )}
                </div>
              );
            })}
          </div>
        </div>
      )}
    </Stack>
  );
}

function Head() {
  const t = useTranslations();
  const names = ["box", "protection", "presence", "lastHeard", "disks", "firmware"] as const;
  return (
    <div role="row" className={`${styles.row ?? ""} ${styles.head ?? ""}`}>
      <span role="columnheader">
        <span className="visually-hidden">{t("fleet.select", { name: "" })}</span>
      </span>
      {names.map((name) => (
        <span role="columnheader" key={name}>
          {t(`fleet.${name}`)}
        </span>
      ))}
    </div>
  );
}

function Row({ box, tree, selected, toggle }: { box: Appliance; tree: Tree; selected: boolean; toggle: () => void }) {
  const t = useTranslations();
  const reasons = [...new Set([...box.not_protected, ...box.disks.flatMap((disk) => disk.not_protected)])];
  const there = box.disks.filter((disk) => !disk.gone_ms).length;
  return (
    <>
      <span role="cell">
        <Checkbox checked={selected} onChange={toggle} aria-label={t("fleet.select", { name: box.name })} />
      </span>
      <span role="cell" className={styles.cell}>
        <ScreenLink to="/appliances/$id" params={{ id: box.id }} fw={500}>
          {box.name}
        </ScreenLink>
        <Text size="xs" c="dimmed" truncate>
          {tree.name(box.site)}
          {box.tags.map((tag) => ` #${tag}`).join("")}
        </Text>
      </span>
      <span role="cell" className={`${styles.cell ?? ""} ${styles.state ?? ""}`}>
        {box.revoked_ms ? <Status tone="neutral">{t("box.revoke")}</Status> : <Protected reasons={reasons} />}
      </span>
      <span role="cell">
        <Presence presence={box.presence} />
      </span>
      <Text role="cell" component="span" size="sm" className={`${styles.cell ?? ""} ${styles.wide ?? ""}`}>
        {box.heard_ms ? <Ago at={box.heard_ms} /> : t("common.never")}
      </Text>
      <Text role="cell" component="span" size="sm" className={styles.wide ?? ""}>
        {there}
      </Text>
      <Text role="cell" component="span" size="sm" className={`${styles.cell ?? ""} ${styles.wide ?? ""}`}>
        {box.firmware}
      </Text>
    </>
  );
}
