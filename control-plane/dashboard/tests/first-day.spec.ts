// The story of the product in one sitting: from an empty control plane to a disk that fails, without one reload.
import { join } from "node:path";
import { ControlPlane, makeDisk } from "./control-plane";
import { expect, test } from "./person";

test("from first run to an alert that somebody answers", async ({ page }) => {
  test.setTimeout(240_000);
  const plane = await ControlPlane.start({ people: false });
  try {
    const box = await plane.box();
    const image = join(plane.folder, "disk.img");
    makeDisk(image, 900);

    // Nobody has an account: whoever has the link makes the first.
    const link = plane.setupLink ?? "";
    await page.goto(link);
    await page.getByLabel("E-mail address").fill(plane.admin.email);
    await page.getByLabel(/^Password(?! again)/).fill(plane.admin.password);
    await page.getByLabel("Password again").fill("something else");
    await expect(page.getByText("This is another one.")).toBeVisible();
    await page.getByRole("button", { name: "Make the account" }).click();
    await page.getByLabel("Password again").fill(plane.admin.password);
    await page.getByRole("button", { name: "Make the account" }).click();
    await expect(page.getByRole("heading", { level: 1, name: "Protection" })).toBeVisible();
    expect(page.url()).toBe(`${plane.url}/`);

    // The link counts once, also for who has signed out.
    await page.context().clearCookies();
    await page.goto(link);
    await page.getByLabel("E-mail address").fill("another@example.org");
    await page.getByLabel(/^Password(?! again)/).fill(plane.admin.password);
    await page.getByLabel("Password again").fill(plane.admin.password);
    await page.getByRole("button", { name: "Make the account" }).click();
    await expect(page.getByRole("alert")).toContainText("This link was used already");

    // Whoever is not signed in is asked to, and comes where he wanted to go.
    await page.goto(`${plane.url}/places`);
    await page.getByLabel("E-mail address").fill(plane.admin.email);
    await page.getByLabel(/^Password/).fill("not the password");
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("alert")).toHaveText("No account has this name and password.");
    await page.getByLabel(/^Password/).fill(plane.admin.password);
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("heading", { name: "Customers and sites" })).toBeVisible();
    await page.evaluate("window.sameDocument = true");

    await page.getByRole("link", { name: "Protection", exact: true }).click();
    await expect(page.getByText("Three steps to the first backup")).toBeVisible();
    await page.getByRole("link", { name: /Make a customer/ }).click();
    await page.getByRole("button", { name: "Add a customer" }).click();
    await page.getByRole("dialog").getByLabel("Name").fill("Bakery Sunrise");
    await page.getByRole("dialog").getByRole("button", { name: "Add a customer" }).click();
    await expect(page.getByRole("heading", { name: "Bakery Sunrise" })).toBeVisible();
    await page.getByRole("button", { name: "Add a site" }).click();
    await page.getByRole("dialog").getByLabel("Name").fill("Main street");
    await page.getByRole("dialog").getByRole("button", { name: "Add a site" }).click();
    await expect(page.getByRole("link", { name: "Main street", exact: true })).toBeVisible();

    await page.getByRole("link", { name: "Add a box" }).click();
    const { claim_code: code, claim_link: scanned } = await box.status();
    // What the box draws as a QR code is this page, filled in.
    const telephone = await page.context().newPage();
    await telephone.goto(scanned ?? "");
    await expect(telephone.getByLabel("Code of the box")).toHaveValue(code);
    await telephone.close();
    await page.getByLabel("Code of the box").fill(code);
    await page.getByLabel("Name of the box").fill("Under the till");
    await page.getByRole("button", { name: "Add", exact: true }).click();
    await expect(page.getByText("Waiting for the box", { exact: true })).toBeVisible();
    await expect(page.getByText("The box is here. Plug in the disk.")).toBeVisible({ timeout: 60_000 });
    await box.slowly(async () => {
      box.plug(image);
      await expect(page.getByText(/The first backup runs\. [1-9]\d? %/)).toBeVisible({ timeout: 60_000 });
    });
    await expect(page.getByText("The first recovery point is there. One thing is left:")).toBeVisible({
      timeout: 90_000,
    });
    await expect(page.getByText(/Nobody could open the backups without the box/)).toBeVisible();

    await page.getByRole("link", { name: "Open the box" }).click();
    await expect(page.getByText("Nobody could open these backups without the box")).toBeVisible();
    await box.confirmWords();
    await expect(page.getByText("Nobody could open these backups without the box")).toBeHidden();
    await expect(page.getByText("Protected", { exact: true }).first()).toBeVisible();
    await expect(page.getByRole("img", { name: /How the disk is divided: data · ext/ })).toBeVisible();

    await page.getByRole("tab", { name: "Recovery points" }).click();
    await expect(page.getByText("complete")).toHaveCount(1);
    // A backup that somebody asks for: its progress and its recovery point come by themselves.
    await page.getByRole("button", { name: "Actions" }).click();
    await page.getByRole("menuitem", { name: "Start a backup" }).click();
    await expect(page.getByText("complete")).toHaveCount(2, { timeout: 60_000 });
    await page.getByRole("tabpanel").getByRole("link").first().click();
    await expect(page.getByText("None: every block that the disk uses was read.")).toBeVisible();
    await page.getByRole("button", { name: "Test a restore of this" }).click();
    await expect(page.getByText(/Last restore test of this recovery point/)).toBeVisible({ timeout: 60_000 });

    // The disk begins to die.
    box.unplug();
    box.fail();
    await page.getByRole("link", { name: "Alerts" }).click();
    await expect(page.getByText("No alert is open")).toBeVisible();
    box.plugDevice(image);
    const alert = page.getByTestId("alert").filter({ hasText: "Disk is failing" });
    await expect(alert).toBeVisible({ timeout: 60_000 });
    await alert.getByRole("button", { name: "Acknowledge" }).click();
    await expect(alert).toContainText("seen by admin@example.org");
    await alert.getByRole("button", { name: "Silence" }).click();
    await page.getByRole("dialog").getByLabel("Reason").fill("a new disk is ordered");
    await page.getByRole("dialog").getByRole("button", { name: "Silence" }).click();
    await expect(alert).toContainText("silent until");
    await page.getByRole("tab", { name: "Silences" }).click();
    await expect(page.getByText("a new disk is ordered")).toBeVisible();

    await page.getByRole("link", { name: "Protection", exact: true }).click();
    await expect(page.getByTestId("verdict")).toContainText("The one box is protected");
    expect(await page.evaluate("window.sameDocument")).toBe(true);
  } finally {
    await plane.stop();
  }
});
