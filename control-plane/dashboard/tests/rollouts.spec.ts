// A release goes out: who administers the organisation begins it, sees its rings and why they wait, pauses it and halts it.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, signIn, test } from "./person";

test("a release is rolled out, paused and halted", async ({ page, world }) => {
  await signIn(page, world.plane);
  await page.getByRole("link", { name: "Releases" }).click();
  await expect(page.getByText("No release was rolled out yet")).toBeVisible();
  await page.getByRole("button", { name: "Roll out a release" }).click();
  await page.getByRole("dialog").getByLabel("Release").fill("9.9.9");
  await page.getByRole("dialog").getByRole("button", { name: "Roll out a release" }).click();
  await expect(page.getByRole("heading", { name: "Release 9.9.9" })).toBeVisible();
  await expect(page.getByRole("row", { name: /^canary 1%/ })).toBeVisible();
  await expect(page.getByRole("row", { name: /^hold-back 100%/ })).toContainText("not yet");
  await expect(page.getByText("under way")).toBeVisible();

  const sure = async (name: string) => {
    await page.getByRole("button", { name, exact: true }).click();
    await page.getByRole("dialog").getByRole("button", { name, exact: true }).click();
    await expect(page.getByRole("dialog")).toHaveCount(0);
  };
  await sure("Pause");
  await expect(page.getByText("paused", { exact: true })).toBeVisible();
  await expect(page.getByText(/^admin@.* said so$/)).toBeVisible({ timeout: 30_000 });
  await sure("Resume");
  await expect(page.getByText("under way")).toBeVisible();
  await sure("Halt");
  await expect(page.getByText("halted", { exact: true })).toBeVisible();
  await expect(page.getByRole("button", { name: "Halt" })).toHaveCount(0);
  await page.getByRole("button", { name: "Roll back" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Roll back" }).click();
  await expect(page.getByRole("dialog").getByRole("alert")).toContainText("no box runs it");
  await page.keyboard.press("Escape");
  await page.goto(`${world.plane.url}/appliances/${world.device}`);
  await expect(page.getByText(/9\.9\.9 (was halted|did not work here)/)).toBeVisible();
  await page.goto(`${world.plane.url}/rollouts`);
  await page.getByRole("button", { name: "Roll out a release" }).click();
  await page.getByRole("dialog").getByLabel("Release").fill("no release");
  await page.getByRole("dialog").getByRole("button", { name: "Roll out a release" }).click();
  await expect(page.getByRole("dialog").getByRole("alert")).toBeVisible();
});

test("who administers a customer and not the organisation finds no releases", async ({ page, world }) => {
  await signIn(page, world.plane, world.viewer);
  await expect(page.getByRole("link", { name: "Releases" })).toHaveCount(0);
  await page.goto(`${world.plane.url}/rollouts`);
  await expect(page.getByText("This is not here")).toBeVisible();
});

test("what is published here can be rolled out, and nothing else", async ({ page, world }) => {
  // As somebody would who left the ceremony out: what the page shows is read from the metadata, and a box would refuse it.
  const metadata = join(world.plane.folder, "data/releases/metadata");
  mkdirSync(metadata, { recursive: true });
  const put = (name: string, signed: object) => writeFileSync(join(metadata, name), JSON.stringify({ signed }));
  const custom = { release: "8.0.0", compatible: "saveos-qemu", security_epoch: 1, from: ["7.9.0"], notes: "Faster" };
  put("1.targets.json", { targets: { "saveos-qemu-8.0.0.raucb": { length: 52_428_800, custom } } });
  put("1.snapshot.json", { meta: { "targets.json": { version: 1 } } });
  put("timestamp.json", { meta: { "snapshot.json": { version: 1 } } });
  try {
    await signIn(page, world.plane);
    await page.goto(`${world.plane.url}/rollouts`);
    await page.getByRole("button", { name: "Roll out a release" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Release").fill("8.0.0");
    await expect(dialog.getByText("For saveos-qemu, 52.4 MB · Faster · From 7.9.0")).toBeVisible();
    await dialog.getByLabel("Release").fill("8.0.1");
    await dialog.getByRole("button", { name: "Roll out a release" }).click();
    await expect(dialog.getByRole("alert")).toContainText("no such release is published");
    await dialog.getByLabel("Release").fill("8.0.0");
    await dialog.getByRole("button", { name: "Roll out a release" }).click();
    await expect(page.getByRole("heading", { name: "Release 8.0.0" })).toBeVisible();
    await page.goto(`${world.plane.url}/appliances/${world.device}`);
    await expect(page.getByText("none: no published release leads from what runs here to 8.0.0")).toBeVisible();
    await page.goto(`${world.plane.url}/rollouts`);
    await page.getByRole("button", { name: "Halt", exact: true }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Halt", exact: true }).click();
    await expect(page.getByText("halted", { exact: true })).toBeVisible();
  } finally {
    rmSync(metadata, { recursive: true });
  }
});
