import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export default defineConfig({
  // Relative addresses: the page works in any folder of a server.
  base: "./",
  build: { target: "es2023", chunkSizeWarningLimit: 600 },
  worker: { format: "es" },
  resolve: {
    alias: [
      { find: /^executorch-webgpu\/etwebgpu\.wasm/, replacement: path("../../build/wasm/etwebgpu.wasm") },
      { find: /^executorch-webgpu$/, replacement: path("../src/index.ts") },
    ],
  },
  // `npx vite demo` beside `executorch-webgpu serve`, which has the models.
  server: {
    fs: { allow: [path("../..")] },
    proxy: Object.fromEntries(["/models.json", "/models/"].map((at) => [at, "http://127.0.0.1:8080"])),
  },
});
