// A release goes out: who administers the organisation begins it, sees its rings and why they wait, pauses it and halts it.
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
