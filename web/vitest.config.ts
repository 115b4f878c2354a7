import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // One device after the other: software adapters use all cores for each.
    fileParallelism: false,
    testTimeout: 60_000,
  },
});
