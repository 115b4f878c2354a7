import { defineConfig } from "@playwright/test";

export default defineConfig({
  testDir: "e2e",
  // One page after the other: software adapters use all cores for each.
  workers: 1,
  timeout: 600_000,
  use: {
    launchOptions: {
      executablePath: process.env.ETWEBGPU_CHROMIUM ?? "/usr/bin/chromium",
      args: ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
    },
  },
});
