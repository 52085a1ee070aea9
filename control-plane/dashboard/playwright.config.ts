// The dashboard in a real browser, against the real server, its broker and a real daemon. Nothing is retried, nothing sleeps.
import { defineConfig } from "@playwright/test";

const QUIET = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"];

export default defineConfig({
  testDir: "tests",
  outputDir: "test-results/run",
  timeout: 120_000,
  expect: { timeout: 20_000 },
  // Each file starts what it needs; two cores are shared with server, broker, daemon and browser.
  workers: 1,
  forbidOnly: true,
  reporter: [["list"]],
  use: {
    actionTimeout: 20_000,
    ignoreHTTPSErrors: true,
    locale: "en-GB",
    timezoneId: "Europe/Berlin",
    trace: "retain-on-failure",
    launchOptions: {
      executablePath: process.env["SAVEOS_CHROMIUM"] ?? "/usr/bin/chromium",
      args: [...QUIET, "--disable-sync", "--no-sandbox", "--disable-gpu"],
    },
  },
});
