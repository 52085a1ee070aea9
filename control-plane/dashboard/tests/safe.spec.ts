// The page runs nothing but itself: the policy is strict and in force, and no name that somebody typed becomes a part of the page.
import { expect, signIn, test } from "./person";
import type { Schemas } from "../src/api/client";

test("the policy lets nothing in, and the browser keeps to it", async ({ browser, world }) => {
  // A page of its own: here it is right that the policy is broken and says so.
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  const answer = await page.goto(`${world.plane.url}/sign-in`);
  const policy = answer?.headers()["content-security-policy"] ?? "";
  const rules = new Map(policy.split("; ").map((rule) => [rule.split(" ")[0], rule.split(" ").slice(1)]));
  expect(rules.get("default-src")).toEqual(["'none'"]);
  expect(rules.get("script-src")).toEqual(["'self'"]);
  expect(rules.get("frame-ancestors")).toEqual(["'none'"]);
  expect(rules.get("base-uri")).toEqual(["'none'"]);
  expect(policy).not.toMatch(/unsafe|https?:|\*/);
  expect(answer?.headers()["x-content-type-options"]).toBe("nosniff");
  // Asked of the browser itself: neither an inline script nor an evaluated text runs.
  const blocked = await page.evaluate(async () => {
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.body.append(script);
    // What a test runs by itself may evaluate; what the page runs later may not.
    const evaluated = await new Promise((resolve) => {
      setTimeout(() => {
        try {
          // eslint-disable-next-line @typescript-eslint/no-implied-eval, @typescript-eslint/no-unsafe-call -- that it fails is the test
          resolve(String(new Function("return 'ran'")()));
        } catch (error) {
          resolve((error as Error).name);
        }
      });
    });
    const image = new Image();
    const failed = new Promise((resolve) => {
      image.onerror = () => resolve("refused");
      image.onload = () => resolve("loaded");
    });
    image.src = "https://elsewhere.invalid/x.png";
    return { inline: "ran" in window, evaluated, image: await failed };
  });
  expect(blocked).toEqual({ inline: false, evaluated: "EvalError", image: "refused" });
  await context.close();
});

const PROBES = [
  `<img src=x onerror="window.ran=1">`,
  `"><script>window.ran=1</script>`,
  `javascript:window.ran=1`,
  `{{constructor.constructor('window.ran=1')()}}`,
  `' onmouseover='window.ran=1`,
];

test("no name becomes a part of the page", async ({ page, world: { plane, device, bakery, site } }) => {
  const named = async (at: number) => {
    const probe = PROBES[at % PROBES.length] ?? "";
    const customer = await plane.node("customer", plane.organisation, `${probe} c`);
    await plane.node("site", customer, `${probe} s`);
  };
  for (let at = 0; at < PROBES.length; at += 1) await named(at);
  const name = `${PROBES[0] ?? ""} box`;
  await plane.ask("PATCH", `/api/v1/appliances/${device}`, { name, tags: [`<b>tag</b>`, "'\"><i>"] });
  const soon = Date.now() + 3_600_000;
  await plane.ask("POST", "/api/v1/silences", { node: site, reason: `${PROBES[1] ?? ""} why`, until_ms: soon });
  await plane
    .ask("POST", "/api/v1/me/tokens", { name: PROBES[1], node: bakery, role: "viewer", until_ms: soon })
    .catch(() => undefined);
  await plane.ask("POST", "/api/v1/alert-routes", {
    node: site,
    channel: "webhook",
    target: "https://example.org/?q=%3Cscript%3E",
  });
  await signIn(page, plane);
  const { items } = await plane.ask<Schemas["ListOfRecoveryPoint"]>(
    "GET",
    `/api/v1/appliances/${device}/recovery-points`,
  );
  const box = `/appliances/${device}`;
  const paths = [
    "/",
    "/fleet",
    `/fleet?name=${encodeURIComponent(PROBES[0] ?? "")}`,
    "/places",
    "/people",
    "/audit",
    "/rollouts",
    "/alerts",
  ];
  paths.push(
    "/alerts?tab=silences",
    "/alerts?tab=routes",
    "/profile",
    `/reports?node=${bakery}`,
    "/policies",
    "/enrol",
  );
  paths.push(box, `${box}?tab=settings`, `${box}?tab=events`, `${box}/points/${items[0]?.snapshot ?? ""}`);
  for (const probe of PROBES) {
    // What an address says is shown, or not, and never run.
    const said = encodeURIComponent(probe);
    paths.push(
      `/enrol?code=${said}`,
      `/sign-in?to=${said}`,
      `/fleet?node=${said}&tag=${said}`,
      `/${said}`,
      `/appliances/${said}`,
    );
  }
  for (const path of paths) {
    await page.goto(`${plane.url}${path}`);
    await expect(
      page.getByRole("heading").or(page.getByText("There is nothing here")).or(page.getByRole("alert")).first(),
    ).toBeVisible();
    expect(await page.evaluate("'ran' in window"), path).toBe(false);
  }
  await page.goto(`${plane.url}/fleet`);
  await expect(page.getByRole("link", { name })).toBeVisible();
  await plane.ask("PATCH", `/api/v1/appliances/${device}`, { name: "Under the till", tags: [] });
});

test("a link cannot send anybody elsewhere after signing in", async ({ page, world: { plane, viewer } }) => {
  for (const to of [
    "https://elsewhere.invalid/",
    "//elsewhere.invalid/",
    "/\\elsewhere.invalid/",
    "javascript:alert(1)",
  ]) {
    await page.context().clearCookies();
    await page.goto(`${plane.url}/sign-in?to=${encodeURIComponent(to)}`);
    await page.getByLabel("E-mail address").fill(viewer.email);
    await page.getByLabel(/^Password/).fill(viewer.password);
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("heading", { level: 1, name: "Protection" })).toBeVisible();
    expect(new URL(page.url()).origin).toBe(plane.url);
  }
});
