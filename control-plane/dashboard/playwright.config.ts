// The dashboard in a real browser, against the real server, its broker and a real daemon. Nothing is retried, nothing sleeps.
import { defineConfig } from "@playwright/test";

const QUIET = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"];

export default defineConfig({
  testDir: "tests",
  outputDir: "test-results/run",
  timeout: 120_000,
  expect: { timeout: 20_000 },
  // Each worker starts what it needs; two cores are shared with servers, brokers, daemons and browsers.
  workers: 2,
  fullyParallel: false,
  // What is timed runs alone, after the others.
  projects: [
    { name: "all", testIgnore: "large.spec.ts" },
    { name: "large", testMatch: "large.spec.ts", dependencies: ["all"] },
  ],
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
