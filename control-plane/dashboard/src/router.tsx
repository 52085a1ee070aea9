// The addresses: each is a screen, and what it is filtered by is in it. A screen is loaded when somebody goes there.
import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
  type RouteComponent,
} from "@tanstack/react-router";
import { ApiError } from "./api/client";
import { me } from "./api/queries";
import { fleetSearch } from "./fleet/search";
import { Failed } from "./kit/screen";
import { NotFound } from "./shell/not-found";

interface Context {
  queries: QueryClient;
}

const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);

const loaders: (() => Promise<unknown>)[] = [];

/** A screen that is loaded when somebody goes there, or by `loadScreens` before. */
function screen<M extends Record<N, RouteComponent>, N extends string>(load: () => Promise<M>, name: N) {
  loaders.push(load);
  return lazyRouteComponent(load, name);
}

/** All screens, in quiet moments after the first: a server that is away must not keep anybody from moving around. */
export function loadScreens(): void {
  for (const load of loaders) load().catch(() => undefined);
}

const root = createRootRouteWithContext<Context>()({ notFoundComponent: NotFound });

const signIn = createRoute({
  getParentRoute: () => root,
  path: "/sign-in",
  validateSearch: (search: Record<string, unknown>): { to?: string; ended?: true } => {
    const to = text(search["to"]);
    // Only a path of ours: whoever sends a link must not choose where one lands.
    return {
      ...(to && /^\/(?![/\\])/.test(to) && { to }),
      ...(search["ended"] === true && { ended: true }),
    };
  },
  component: lazyRouteComponent(() => import("./sign-in/sign-in"), "SignIn"),
});

const setUp = createRoute({
  getParentRoute: () => root,
  path: "/setup",
  component: lazyRouteComponent(() => import("./sign-in/set-up"), "SetUp"),
});

const inside = createRoute({
  getParentRoute: () => root,
  id: "inside",
  beforeLoad: async ({ context, location }) => {
    try {
      await context.queries.query({ ...me, staleTime: "static" });
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 401)) throw error;
      // eslint-disable-next-line @typescript-eslint/only-throw-error -- how this router is told to go elsewhere
      throw redirect({ to: "/sign-in", search: { to: location.href } });
    }
  },
  errorComponent: ({ error, reset }) => <Failed error={error instanceof Error ? error : new Error()} again={reset} />,
  component: lazyRouteComponent(() => import("./shell/shell"), "Shell"),
});

const protection = createRoute({
  getParentRoute: () => inside,
  path: "/",
  component: screen(() => import("./protection/protection"), "Protection"),
});

const fleet = createRoute({
  getParentRoute: () => inside,
  path: "/fleet",
  validateSearch: fleetSearch,
  component: screen(() => import("./fleet/fleet"), "Fleet"),
});

const bulkList = createRoute({
  getParentRoute: () => inside,
  path: "/bulk",
  component: screen(() => import("./fleet/bulk-list"), "BulkList"),
});

const bulk = createRoute({
  getParentRoute: () => inside,
  path: "/bulk/$id",
  component: screen(() => import("./fleet/bulk"), "Bulk"),
});

export const BOX_TABS = ["overview", "recovery", "jobs", "events", "commands", "settings"] as const;
const appliance = createRoute({
  getParentRoute: () => inside,
  path: "/appliances/$id",
  validateSearch: (search: Record<string, unknown>): { tab?: (typeof BOX_TABS)[number] } => {
    const tab = BOX_TABS.find((tab) => tab === search["tab"]);
    return tab ? { tab } : {};
  },
  component: screen(() => import("./appliance/appliance"), "ApplianceScreen"),
});

const point = createRoute({
  getParentRoute: () => inside,
  path: "/appliances/$id/points/$snapshot",
  component: screen(() => import("./recovery-point/recovery-point"), "RecoveryPoint"),
});

const enrol = createRoute({
  getParentRoute: () => inside,
  path: "/enrol",
  validateSearch: (search: Record<string, unknown>): { code?: string } => {
    const code = text(search["code"]);
    return code ? { code } : {};
  },
  component: screen(() => import("./enrol/enrol"), "Enrol"),
});

export const ALERT_TABS = ["inbox", "routes", "silences"] as const;
const alerts = createRoute({
  getParentRoute: () => inside,
  path: "/alerts",
  validateSearch: (search: Record<string, unknown>): { tab?: (typeof ALERT_TABS)[number] } => {
    const tab = ALERT_TABS.find((tab) => tab === search["tab"]);
    return tab ? { tab } : {};
  },
  component: screen(() => import("./alerts/alerts"), "Alerts"),
});

const places = createRoute({
  getParentRoute: () => inside,
  path: "/places",
  component: screen(() => import("./places/places"), "Places"),
});

const ofNode = (search: Record<string, unknown>): { node?: string } => {
  const node = text(search["node"]);
  return node ? { node } : {};
};

const policies = createRoute({
  getParentRoute: () => inside,
  path: "/policies",
  validateSearch: ofNode,
  component: screen(() => import("./policies/policies"), "Policies"),
});

const people = createRoute({
  getParentRoute: () => inside,
  path: "/people",
  component: screen(() => import("./people/people"), "People"),
});

const audit = createRoute({
  getParentRoute: () => inside,
  path: "/audit",
  component: screen(() => import("./audit/audit"), "Audit"),
});

const rollouts = createRoute({
  getParentRoute: () => inside,
  path: "/rollouts",
  validateSearch: (search: Record<string, unknown>): { id?: string } => {
    const id = text(search["id"]);
    return id ? { id } : {};
  },
  component: screen(() => import("./rollouts/rollouts"), "Rollouts"),
});

const profile = createRoute({
  getParentRoute: () => inside,
  path: "/profile",
  component: screen(() => import("./profile/profile"), "Profile"),
});

const reports = createRoute({
  getParentRoute: () => inside,
  path: "/reports",
  validateSearch: (search: Record<string, unknown>): { node?: string; days?: number } => ({
    ...ofNode(search),
    ...(typeof search["days"] === "number" && search["days"] >= 1 && search["days"] <= 366 && { days: search["days"] }),
  }),
  component: screen(() => import("./reports/reports"), "Reports"),
});

const screens = [
  protection,
  fleet,
  bulkList,
  bulk,
  appliance,
  point,
  enrol,
  alerts,
  places,
  policies,
  people,
  audit,
  rollouts,
  profile,
  reports,
];
const routes = root.addChildren([signIn, setUp, inside.addChildren(screens)]);

export function makeRouter(queries: QueryClient) {
  return createRouter({
    routeTree: routes,
    context: { queries }, // What an address says beside what a screen understands is dropped: nobody looks at it who has not judged it.
    search: { strict: true },
    defaultPreload: "intent",
    scrollRestoration: false,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
