// Every screen in both themes, wide and narrow: nothing that keeps anybody out (axe), nothing wider than the screen, and a picture
// of each in test-results/screens for a person to look at.
import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { expect, signIn, test, type World } from "./person";
import type { Schemas } from "../src/api/client";

// Nobody changes anything here: two of these run at once.
test.describe.configure({ mode: "parallel" });

const WIDTHS = [1440, 360] as const;
const THEMES = ["light", "dark"] as const;

/** Address and a text that is there when the screen has its answers. */
async function screens({
  plane,
  device,
  bakery,
}: World): Promise<[name: string, path: string, shows: string | RegExp][]> {
  const { items } = await plane.ask<Schemas["ListOfRecoveryPoint"]>(
    "GET",
    `/api/v1/appliances/${device}/recovery-points`,
  );
  const box = `/appliances/${device}`;
  return [
    ["protection", "/", "The last 30 days"],
    ["fleet", "/fleet", "Under the till"],
    ["fleet-empty", "/fleet?name=nobody", "No box fits"],
    ["bulk-list", "/bulk", /together yet|have ended/],
    ["box", box, "Memory used"],
    ["box-recovery", `${box}?tab=recovery`, "complete"],
    ["box-jobs", `${box}?tab=jobs`, /new of/],
    ["box-events", `${box}?tab=events`, "job ended"],
    ["box-commands", `${box}?tab=commands`, /Nobody asked|Start a backup/],
    ["box-settings", `${box}?tab=settings`, "Desired and reported"],
    ["point", `${box}/points/${items[0]?.snapshot ?? ""}`, "What it holds"],
    ["enrol", "/enrol", "Code of the box"],
    ["alerts", "/alerts", /Disk is failing|No alert is open|Not protected/],
    ["alert-routes", "/alerts?tab=routes", "Add a route"],
    ["silences", "/alerts?tab=silences", /silenced/],
    ["places", "/places", "Garage North"],
    ["policies", `/policies?node=${bakery}`, "When a disk is plugged in"],
    ["people", "/people", "viewer@bakery.example"],
    ["rollouts", "/rollouts", /No release was rolled out|Of the fleet/],
    ["audit", "/audit", "The chain is whole"],
    ["profile", "/profile", "Second factor"],
    ["report", `/reports?node=${bakery}`, "Restore tests"],
    ["missing", "/nowhere", "There is nothing here"],
    ["not-yours", "/appliances/d-00000000000000000000000000", "This is not here"],
  ];
}

async function check(page: Page, name: string): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ")}`);
  expect.soft(found, name).toEqual([]);
  const wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
  expect.soft(wide, `${name} is wider than the screen`).toBe(0);
}

for (const theme of THEMES) {
  for (const width of WIDTHS) {
    test(`every screen keeps nobody out, ${theme}, ${String(width)} px wide`, async ({ browser, world }) => {
      test.setTimeout(300_000);
      const context = await browser.newContext({
        ignoreHTTPSErrors: true,
        colorScheme: theme,
        viewport: { width, height: 900 },
        reducedMotion: "reduce",
      });
      const page = await context.newPage();
      const picture = (name: string) =>
        page.screenshot({ path: `test-results/screens/${name}-${theme}-${String(width)}.png`, fullPage: true });
      await page.goto(`${world.plane.url}/sign-in`);
      await expect(page.getByRole("button", { name: "Sign in" })).toBeVisible();
      await check(page, "sign-in");
      await picture("sign-in");
      await page.goto(`${world.plane.url}/setup#a-token`);
      await expect(page.getByRole("button", { name: "Make the account" })).toBeEnabled();
      await check(page, "set-up");
      await picture("set-up");
      await signIn(page, world.plane);
      for (const [name, path, shows] of await screens(world)) {
        await page.goto(`${world.plane.url}${path}`);
        await expect(page.getByText(shows).first(), name).toBeVisible();
        await check(page, name);
        await picture(name);
      }
      await context.close();
    });
  }
}

test("dialogs and menus keep nobody out", async ({ page, world }) => {
  await signIn(page, world.plane);
  await page.goto(`${world.plane.url}/places`);
  await page.getByRole("button", { name: "Add a customer" }).click();
  await expect(page.getByRole("dialog")).toBeVisible();
  await check(page, "a dialog");
  await page.keyboard.press("Escape");
  await page.goto(`${world.plane.url}/appliances/${world.device}`);
  await page.getByRole("button", { name: "Actions" }).click();
  await expect(page.getByRole("menuitem", { name: "Test a restore" })).toBeVisible();
  await check(page, "a menu");
});

test("it speaks French when somebody wants that, and remembers", async ({ page, world }) => {
  await signIn(page, world.plane);
  await page.getByRole("link", { name: "Your account" }).click();
  await page.getByLabel("Language").selectOption("fr");
  await expect(page.getByRole("heading", { level: 1, name: "Votre compte" })).toBeVisible();
  await expect(page.locator("html")).toHaveAttribute("lang", "fr");
  await page.reload();
  await expect(page.getByRole("link", { name: "Parc" })).toBeVisible();
});
