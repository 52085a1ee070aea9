// The main flows without a mouse: sign in, go somewhere, filter, open a box, ask it for something.
import type { Page } from "@playwright/test";
import { expect, test } from "./person";

/** Tab until the thing is reached; never more often than a person would. */
async function tabTo(page: Page, name: RegExp, most = 60): Promise<void> {
  for (let at = 0; at < most; at += 1) {
    await page.keyboard.press("Tab");
    const said = await page.evaluate(() => {
      const element = document.activeElement;
      const labels =
        element instanceof HTMLInputElement ? [...(element.labels ?? [])].map((label) => label.textContent) : [];
      return [element?.getAttribute("aria-label"), ...labels, element?.textContent].filter(Boolean).join(" ");
    });
    if (name.test(said)) return;
  }
  throw new Error(`the keyboard does not reach ${String(name)}`);
}

test("everything that matters is reached by keyboard", async ({ page, world: { plane } }) => {
  await page.goto(`${plane.url}/sign-in`);
  await expect(page.getByRole("button", { name: "Sign in" })).toBeVisible();
  await tabTo(page, /E-mail/);
  await page.keyboard.type(plane.admin.email);
  await tabTo(page, /^Password/);
  await page.keyboard.type(plane.admin.password);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1, name: "Protection" })).toBeVisible();

  // The first thing that Tab reaches leads past the menu.
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to the content" })).toBeFocused();
  await tabTo(page, /^Fleet$/);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1, name: "Fleet" })).toBeVisible();
  // Whoever goes elsewhere is taken to its content.
  await expect(page.locator("main")).toBeFocused();
  await tabTo(page, /Search by name/);
  await page.keyboard.type("till");
  await expect(page).toHaveURL(/name=till/);
  await tabTo(page, /^Under the till$/);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1, name: "Under the till" })).toBeVisible();
  await tabTo(page, /^Actions$/);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("menuitem", { name: "Start a backup" })).toBeVisible();
  await page.keyboard.press("Escape");
  await tabTo(page, /^Overview$/);
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  await expect(page.getByText("complete").first()).toBeVisible();
});
