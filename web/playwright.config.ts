import { defineConfig } from "@playwright/test";
import { PYTHON as python } from "./e2e/paths.ts";

const models = "test-results/models";
const port = Number(process.env.ETWEBGPU_E2E_PORT ?? 8417);
const serve = [
  `${python} -m executorch_webgpu serve --port ${port} --page demo/dist`,
  "--smollm2", // exported once, which takes minutes
  `${models}/babble/babble.pte ${models}/colours/colours.pte`,
].join(" ");

export default defineConfig({
  testDir: "e2e",
  outputDir: "test-results/playwright",
  reporter: "list",
  workers: 1, // the software adapter uses all cores for each page
  timeout: 120_000,
  expect: { timeout: 30_000 },
  use: {
    baseURL: `http://127.0.0.1:${port}`,
    browserName: "chromium",
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: [
        "--no-sandbox",
        "--enable-unsafe-webgpu",
        "--use-webgpu-adapter=swiftshader",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
      ],
    },
  },
  webServer: {
    command: `([ -e ${models}/colours/labels.txt ] || ${python} e2e/models.py ${models}) && exec ${serve}`,
    url: `http://127.0.0.1:${port}/models.json`,
    timeout: 1_200_000,
    reuseExistingServer: false,
  },
});
