// Pages that somebody leaves open: each is live, and none keeps another from its server.
import { expect, signIn, test } from "./person";

test("a person has more pages open than a browser has connections", async ({ page, world }) => {
  await signIn(page, world.plane);
  expect(await page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol")).toBe("h2");
  // Six connections to one server is what browsers make of HTTP/1.1.
  for (let open = 1; open < 9; open += 1) {
    const another = await page.context().newPage();
    await another.goto(`${world.plane.url}/fleet`);
    await expect(another.locator("[data-live=live]")).toBeVisible();
    await expect(another.getByText("Under the till")).toBeVisible();
  }
});
