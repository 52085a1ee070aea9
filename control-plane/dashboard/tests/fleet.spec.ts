// What one does with a fleet: find boxes, keep a view, tag some, ask many for one thing, take the list along.
import { readFileSync } from "node:fs";
import { expect, signIn, test } from "./person";

test("boxes are found by a view that is an address, and many are asked for one thing", async ({ page, world }) => {
  await signIn(page, world.plane);
  await page.getByRole("link", { name: "Fleet" }).click();
  const row = (name: string) => page.getByRole("row").filter({ hasText: name });
  await expect(row("Office")).toContainText("No disk was ever plugged in");
  await expect(row("Under the till")).toContainText("Protected");

  await page.getByRole("checkbox", { name: "Select Office" }).check();
  await page.getByRole("button", { name: "Set tags" }).click();
  await page.getByRole("textbox", { name: "Tags" }).fill("spare, 2026");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await expect(row("Office")).toContainText("#spare #2026");

  await page.getByLabel("Tag", { exact: true }).fill("spare");
  await expect(row("Under the till")).toHaveCount(0);
  await expect(row("Office")).toBeVisible();
  await expect(page).toHaveURL(/tag=spare/);
  await page.getByRole("button", { name: "Saved views" }).click();
  await page.getByLabel("Name of the view").fill("Spares");
  await page.getByRole("button", { name: "Save this view" }).click();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Clear filters" }).click();
  await expect(row("Under the till")).toBeVisible();
  await page.getByRole("button", { name: "Saved views" }).click();
  await page.getByRole("link", { name: "Spares" }).click();
  await expect(row("Under the till")).toHaveCount(0);
  await page.reload();
  await expect(row("Office")).toBeVisible();
  await expect(row("Under the till")).toHaveCount(0);

  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download as CSV" }).click();
  const table = readFileSync(await (await download).path(), "utf8")
    .trim()
    .split("\r\n");
  expect(table).toHaveLength(2);
  expect(table[1]).toMatch(/,Office,Garage North,Harbour,spare 2026,online,\d+,false,/);

  await page.getByRole("button", { name: "Clear filters" }).click();
  await page.getByRole("checkbox", { name: "Select Office" }).check();
  await page.getByRole("checkbox", { name: "Select Under the till" }).check();
  await page.getByRole("button", { name: "Do with all of them" }).click();
  await page.getByRole("menuitem", { name: "Start a backup" }).click();
  await expect(page.getByRole("heading", { level: 1, name: "One thing for many boxes" })).toBeVisible();
  await expect(row("Office")).toContainText("was not asked: no disk is plugged in");
  await expect(row("Under the till")).toContainText("done");
  await expect(page.getByText("2 of 2 have ended")).toBeVisible();

  await page.goto(`${world.plane.url}/fleet`);
  await page.getByRole("link", { name: "What many boxes were asked" }).click();
  await page.getByRole("link", { name: "Start a backup" }).first().click();
  await expect(row("Office")).toContainText("was not asked: no disk is plugged in");
});

test("a restore is prepared here, signed on the server, and waits for somebody at the box", async ({ page, world }) => {
  await signIn(page, world.plane);
  await page.goto(`${world.plane.url}/appliances/${world.device}?tab=recovery`);
  await page.getByRole("tabpanel").getByRole("link").first().click();
  await page.getByLabel("Serial number of the target").fill("till.img");
  await page.getByRole("button", { name: "Prepare" }).click();
  const line = await page.getByText(/^printf/).textContent();
  await page.getByLabel("2. Paste what that printed").fill(world.plane.sign(line ?? ""));
  await page.getByRole("button", { name: "Send to the box" }).click();
  await expect(page.getByText("3. Press the button on the box.")).toBeVisible();
  await page.goto(`${world.plane.url}/appliances/${world.device}?tab=commands`);
  // The disk itself is no target: it would be overwritten. The box says so.
  const command = page.getByRole("listitem").filter({ hasText: "Restore" }).first();
  await expect(command).toContainText(/accepted|running|failed|refused/);
});

test("a page whose server is away says so, and is right again when it is back", async ({ page, world }) => {
  // In a quiet moment after the first screen, the others are loaded.
  const loaded = page.waitForResponse(/\/assets\/reports-.*\.js/);
  await signIn(page, world.plane);
  await loaded;
  await expect(page.getByTestId("verdict")).toContainText("1 box is not protected");
  await world.plane.pause();
  await expect(page.locator("[data-live=broken]")).toContainText("Not live since");
  await expect(page.getByTestId("verdict")).toContainText("1 box is not protected");
  await page.getByRole("link", { name: "Reports" }).click();
  await expect(page.getByText("The server does not answer")).toBeVisible();
  await world.plane.goOn();
  await expect(page.locator("[data-live=live]")).toBeVisible({ timeout: 30_000 });
  await expect(page.getByText("The server does not answer")).toBeHidden();
});
