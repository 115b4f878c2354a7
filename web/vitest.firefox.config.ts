import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["e2e/firefox/*.test.ts"],
    fileParallelism: false,
    testTimeout: 1_200_000, // a software adapter takes its time
    hookTimeout: 1_200_000,
  },
});
