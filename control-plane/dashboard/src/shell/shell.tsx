// What is around every screen: where one can go, whether what one sees is live, who one is.
import { ActionIcon, AppShell, Badge, Burger, Group, NavLink, Text, Tooltip } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import {
  IconBell,
  IconBuildingCommunity,
  IconClipboardList,
  IconDevices,
  IconFileReport,
  IconLogout,
  IconPackageExport,
  IconPlugConnected,
  IconShieldCheck,
  IconSettings,
  IconUserCircle,
  IconUsers,
  type TablerIcon,
} from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useLocation, useNavigate } from "@tanstack/react-router";
import { useCallback, useEffect, useRef, type ReactNode } from "react";
import { useFormatter, useTranslations } from "use-intl";
import { api, ask } from "../api/client";
import { LiveProvider, useLive } from "../api/live";
import { alerts, me, useMay, useTree } from "../api/queries";
import { ProveProvider } from "../kit/change";
import { loadScreens } from "../router";
import { Status } from "../kit/status";

export function Shell() {
  const t = useTranslations("app");
  const [open, menu] = useDisclosure(false);
  const { pathname } = useLocation();
  const main = useRef<HTMLElement>(null);
  const queries = useQueryClient();
  const navigate = useNavigate();

  const signedOut = useCallback(() => {
    queries.clear();
    void navigate({ to: "/sign-in", search: { ended: true } });
  }, [queries, navigate]);

  useEffect(() => {
    const waiting = setTimeout(loadScreens, 1500);
    return () => clearTimeout(waiting);
  }, []);

  // Whoever hears the page instead of seeing it is told that there is another screen.
  const before = useRef(pathname);
  useEffect(() => {
    if (before.current !== pathname) main.current?.focus();
    before.current = pathname;
    menu.close();
    // eslint-disable-next-line react-hooks/exhaustive-deps -- the menu closes when the screen changes, and only then
  }, [pathname]);

  return (
    <LiveProvider onSignedOut={signedOut}>
      <ProveProvider>
        <a className="skip" href="#content">
          {t("skip")}
        </a>
        <AppShell
          header={{ height: 56 }}
          navbar={{ width: 232, breakpoint: "sm", collapsed: { mobile: !open } }}
          padding={{ base: "sm", sm: "lg" }}
        >
          <AppShell.Header>
            <Group h="100%" px="sm" justify="space-between" wrap="nowrap">
              <Group gap="xs" wrap="nowrap">
                <Burger opened={open} onClick={menu.toggle} hiddenFrom="sm" size="sm" aria-label={t("menu")} />
                <img src="/favicon.svg" width={28} height={28} alt="" />
                <Text fw={700}>{t("name")}</Text>
              </Group>
              <Group gap="xs" wrap="nowrap">
                <LiveMark />
                <SignOut />
              </Group>
            </Group>
          </AppShell.Header>
          <AppShell.Navbar p="xs" aria-label={t("main")}>
            <Places />
          </AppShell.Navbar>
          <AppShell.Main id="content" tabIndex={-1} ref={main}>
            <Outlet />
          </AppShell.Main>
        </AppShell>
      </ProveProvider>
    </LiveProvider>
  );
}

function Places() {
  const t = useTranslations("app");
  const may = useMay();
  const tree = useTree();
  const open = useQuery(alerts).data?.filter((alert) => !alert.ended_ms && !alert.acknowledged_ms).length ?? 0;
  const administers = tree.nodes.some((node) => may(node.id, "admin"));
  const top = tree.ofKind("organisation")[0];
  return (
    <>
      <Place to="/" icon={IconShieldCheck} label={t("protection")} />
      <Place to="/fleet" icon={IconDevices} label={t("fleet")} />
      <Place to="/alerts" icon={IconBell} label={t("alerts")} mark={open > 0 ? String(open) : undefined} />
      {administers && <Place to="/enrol" icon={IconPlugConnected} label={t("enrol")} />}
      <Place to="/places" icon={IconBuildingCommunity} label={t("places")} />
      <Place to="/policies" icon={IconSettings} label={t("policies")} />
      <Place to="/reports" icon={IconFileReport} label={t("reports")} />
      <Place to="/people" icon={IconUsers} label={t("people")} />
      {may(top?.id, "admin") && <Place to="/rollouts" icon={IconPackageExport} label={t("rollouts")} />}
      {may(top?.id, "admin") && <Place to="/audit" icon={IconClipboardList} label={t("audit")} />}
      <Place to="/profile" icon={IconUserCircle} label={t("profile")} />
    </>
  );
}

type To =
  | "/"
  | "/fleet"
  | "/alerts"
  | "/enrol"
  | "/places"
  | "/policies"
  | "/reports"
  | "/people"
  | "/rollouts"
  | "/audit"
  | "/profile";

function Place({
  to,
  icon: Icon,
  label,
  mark,
}: {
  to: To;
  icon: TablerIcon;
  label: string;
  mark?: string | undefined;
}) {
  const { pathname } = useLocation();
  const here =
    to === "/" ? pathname === "/" : pathname.startsWith(to) || (to === "/fleet" && pathname.startsWith("/appliances"));
  const rest: { rightSection?: ReactNode } = mark
    ? {
        rightSection: (
          <Badge color="red.9" size="sm" circle={mark.length < 2}>
            {mark}
          </Badge>
        ),
      }
    : {};
  return (
    <NavLink
      component={Link}
      to={to}
      label={label}
      leftSection={<Icon size={18} aria-hidden />}
      active={here}
      aria-current={here ? "page" : undefined}
      {...rest}
    />
  );
}

function LiveMark() {
  const t = useTranslations("live");
  const format = useFormatter();
  const live = useLive();
  const label =
    live.state === "live"
      ? t("live")
      : live.state === "waiting"
        ? t("waiting")
        : t("broken", { time: format.dateTime(live.since, { timeStyle: "short" }) });
  const tone = live.state === "live" ? "good" : live.state === "waiting" ? "neutral" : "bad";
  return (
    <Tooltip label={t("brokenText")} disabled={live.state !== "broken"}>
      <div role="status" data-live={live.state}>
        <Status tone={tone}>{label}</Status>
      </div>
    </Tooltip>
  );
}

function SignOut() {
  const t = useTranslations("app");
  const queries = useQueryClient();
  const navigate = useNavigate();
  const who = useQuery(me).data;
  const leaving = useMutation({
    mutationFn: () => ask(api.POST("/api/v1/logout")),
    onSettled: () => {
      queries.clear();
      return navigate({ to: "/sign-in" });
    },
  });
  return (
    <>
      <Text size="sm" visibleFrom="sm" c="dimmed">
        {who?.email}
      </Text>
      <Tooltip label={t("signOut")}>
        <ActionIcon
          variant="subtle"
          color="gray"
          size="lg"
          onClick={() => leaving.mutate()}
          loading={leaving.isPending}
          aria-label={t("signOut")}
        >
          <IconLogout size={18} aria-hidden />
        </ActionIcon>
      </Tooltip>
    </>
  );
}
