// What a person does again and again in a browser: signing in, and looking whether the page stayed within its policy.
import { expect, test as base, type Page } from "@playwright/test";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { ControlPlane, makeDisk, until, type Account, type Box } from "./control-plane";
import type { Schemas } from "../src/api/client";

export async function signIn(page: Page, plane: ControlPlane, who: Account = plane.admin): Promise<void> {
  await page.goto(`${plane.url}/sign-in`);
  await page.getByLabel("E-mail address").fill(who.email);
  await page.getByLabel(/^Password/).fill(who.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("heading", { level: 1, name: "Protection" })).toBeVisible();
  await expect(page.locator("[data-live=live]")).toBeVisible();
}

/** A place with a box that is protected, and people who may see some of it. */
export interface World {
  plane: ControlPlane;
  bakery: string;
  site: string;
  garage: string;
  device: string;
  box: Box;
  viewer: Account;
}

async function build(): Promise<World> {
  const plane = await ControlPlane.start();
  const bakery = await plane.node("customer", plane.organisation, "Bakery Sunrise");
  const garage = await plane.node("customer", plane.organisation, "Garage North");
  const site = await plane.node("site", bakery, "Main street");
  const harbour = await plane.node("site", garage, "Harbour");
  // A month that was not always good.
  const past = [
    "import sqlite3, sys, time",
    "db = sqlite3.connect(sys.argv[1], timeout=30)",
    "today = int(time.time()) // 86400",
  ];
  past.push("db.executemany('INSERT INTO standing_day (day, node, boxes, protected) VALUES (?, ?, 20, ?)',");
  past.push("    [(today - ago, sys.argv[2], 20 - (ago * 7 % 5)) for ago in range(1, 30)])", "db.commit()");
  execFileSync("python3", ["-c", past.join("\n"), join(plane.folder, "data/saveos.sqlite"), site]);
  const viewer = await plane.person("viewer@bakery.example", bakery, "viewer");
  const box = await plane.box();
  const { claim_code: code, device } = await box.status();
  await plane.ask("POST", "/api/v1/claims", { code, site, name: "Under the till" });
  const other = await plane.box();
  const second = await other.status();
  await plane.ask("POST", "/api/v1/claims", { code: second.claim_code, site: harbour, name: "Office" });
  const image = join(plane.folder, "disk.img");
  makeDisk(image, 8);
  for (const id of [device, second.device]) {
    await until("the box is heard", async () => {
      const said = await plane.ask<Schemas["Appliance"]>("GET", `/api/v1/appliances/${id}`);
      return said.presence === "online" ? said : undefined;
    });
  }
  await box.confirmWords();
  box.plug(image);
  await until("the box is protected", async () => {
    const said = await plane.ask<Schemas["Appliance"]>("GET", `/api/v1/appliances/${device}`);
    return said.protected ? said : undefined;
  });
  return { plane, bakery, site, garage, device, box, viewer };
}

export const test = base.extend<{ safe: undefined }, { world: World }>({
  world: [
    // eslint-disable-next-line no-empty-pattern -- how this library is told that nothing is needed
    async ({}, use) => {
      const world = await build();
      await use(world);
      await world.plane.stop();
    },
    { scope: "worker", timeout: 120_000 },
  ],
  /** On every page: nothing was refused by the policy, nothing came from elsewhere, no script failed. */
  safe: [
    async ({ page }, use) => {
      const said: string[] = [];
      page.on("pageerror", (error) => said.push(`error: ${error.message}`));
      page.on("console", (message) => {
        if (/content security policy|refused to/i.test(message.text())) said.push(message.text());
      });
      page.on("request", (request) => {
        const { hostname, protocol } = new URL(request.url());
        if (hostname !== "localhost" && protocol.startsWith("http")) said.push(`asked ${request.url()}`);
      });
      await use(undefined);
      expect(said).toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };
