/**
 * The same as decode.ts in a Chromium without a window, on the machine's GPU through Vulkan:
 *
 *     npx vite build bench/browser --outDir DIST && unzip -d DIST/SKELETON skeleton.zip
 *     python -m http.server -d DIST 8000 &
 *     node bench/chromium.ts http://127.0.0.1:8000 SKELETON [--chromium PATH] [as decode.ts]
 */
import { chromium as browsers } from "@playwright/test";
import { decodeArguments } from "./options.ts";

const { options, positionals, chromium } = decodeArguments();
const [address, skeleton] = positionals;
const browser = await browsers.launch({
  executablePath: chromium,
  args: [
    "--no-sandbox",
    "--headless=new",
    "--enable-unsafe-webgpu",
    "--enable-features=Vulkan",
    "--use-angle=vulkan",
    "--ignore-gpu-blocklist",
    "--enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia",
    ...(process.env.CHROMIUM_FLAGS?.split(" ") ?? []),
  ],
});
try {
  const page = await browser.newPage();
  page.on("console", (message) => console.error(message.text()));
  await page.goto(address);
  await page.waitForFunction(() => window.bench !== undefined);
  const times = await page.evaluate(([folder, wanted]) => window.bench(folder, wanted), [
    skeleton,
    options,
  ] as const);
  console.log(JSON.stringify({ browser: browser.version(), skeleton, ...times }));
} finally {
  await browser.close();
}
