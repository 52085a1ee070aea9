// Who sees what: a person of one customer sees that customer and nothing of another; a session that ends elsewhere ends here.
import { expect, signIn, test } from "./person";

test("a person of one customer sees nothing of another", async ({ page, world }) => {
  await signIn(page, world.plane, world.viewer);
  await page.goto(`${world.plane.url}/places`);
  await expect(page.getByRole("heading", { name: "Bakery Sunrise" })).toBeVisible();
  await expect(page.getByText("Garage North")).toHaveCount(0);
  // Looking is all that this role may.
  await expect(page.getByRole("button", { name: /Add/ })).toHaveCount(0);
  for (const name of ["Add a box", "Audit log"]) await expect(page.getByRole("link", { name })).toHaveCount(0);
  await page.goto(`${world.plane.url}/appliances/${world.device}`);
  await expect(page.getByRole("heading", { level: 1, name: "Under the till" })).toBeVisible();
  await expect(page.getByRole("button", { name: "Actions" })).toHaveCount(0);
  await page.goto(`${world.plane.url}/policies?node=${world.garage}`);
  await expect(page.getByText("This is not here")).toBeVisible();
  await page.goto(`${world.plane.url}/audit`);
  await expect(page.getByText("This is not here")).toBeVisible();
});

test("a session that is ended elsewhere ends here, and says so", async ({ page, browser, world }) => {
  const elsewhere = await browser.newContext({ ignoreHTTPSErrors: true });
  const other = await elsewhere.newPage();
  await signIn(page, world.plane, world.viewer);
  await signIn(other, world.plane, world.viewer);
  await other.goto(`${world.plane.url}/profile`);
  await other
    .getByRole("button", { name: /^End: .*Chrome/ })
    .first()
    .click();
  await expect(page.getByText("Your session was ended. Sign in again.")).toBeVisible({ timeout: 30_000 });
  await elsewhere.close();
});

test("a second factor is turned on, asked for, and turned off", async ({ page, world }) => {
  const who = await world.plane.person("factor@bakery.example", world.bakery, "operator");
  await signIn(page, world.plane, who);
  await page.goto(`${world.plane.url}/profile`);
  await page.getByRole("button", { name: "Turn on" }).click();
  const url = await page.getByText(/^otpauth:/).textContent();
  await page.getByRole("textbox", { name: "Confirm" }).fill(await code(url ?? "", 0));
  await page.getByRole("button", { name: "Confirm" }).click();
  await expect(page.getByText("It is on: signing in asks for a code.")).toBeVisible();
  await expect(page.getByText("Codes for the day you lose your phone")).toBeVisible();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("E-mail address").fill(who.email);
  await page.getByLabel(/^Password/).fill(who.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByLabel("Code of your second factor").fill("000000");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("alert")).toHaveText("The code does not fit, or it was used already.");
  // A code is good once: the next one, which a clock that runs a little ahead would show.
  await page.getByLabel("Code of your second factor").fill(await code(url ?? "", 30));
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("heading", { level: 1, name: "Protection" })).toBeVisible();
});

/** RFC 6238 with what an `otpauth` address says: six digits of HMAC-SHA1 over half minutes. */
async function code(url: string, later: number): Promise<string> {
  const secret = new URL(url).searchParams.get("secret") ?? "";
  const algorithm = new URL(url).searchParams.get("algorithm") ?? "SHA1";
  const bits = Array.from(secret).map((letter) =>
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter).toString(2).padStart(5, "0"),
  );
  const bytes = bits.join("").match(/.{8}/g) ?? [];
  const raw = Uint8Array.from(bytes, (byte) => parseInt(byte, 2));
  const hash = algorithm.replace("SHA", "SHA-");
  const key = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash }, false, ["sign"]);
  const counter = new DataView(new ArrayBuffer(8));
  counter.setBigUint64(0, BigInt(Math.floor((Date.now() / 1000 + later) / 30)));
  const sum = new DataView(await crypto.subtle.sign("HMAC", key, counter));
  const at = sum.getUint8(sum.byteLength - 1) & 15;
  return String((sum.getUint32(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}
