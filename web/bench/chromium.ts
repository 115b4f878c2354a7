/**
 * The same as decode.ts in a Chromium without a window, on the machine's GPU through Vulkan:
 *
 *     npx vite build bench/browser --outDir DIST && unzip -d DIST/smollm2 smollm2.zip
 *     python -m http.server -d DIST 8000 &
 *     node bench/chromium.ts http://127.0.0.1:8000 smollm2 [--chromium PATH] [--rounds 3] [as decode.ts]
 */
import { chromium as browsers } from "@playwright/test";
import { chromiumFlags, decodeArguments } from "./options.ts";

const { options, positionals, chromium, rounds } = decodeArguments();
const [address, skeleton] = positionals;

const browser = await browsers.launch({ executablePath: chromium, args: chromiumFlags(true) });
try {
  for (let round = 0; round < rounds; ++round) {
    const page = await browser.newPage();
    page.on("console", (message) => console.error(message.text()));
    await page.goto(address);
    await page.waitForFunction(() => window.decoders !== undefined);
    const times = await page.evaluate(([folder, wanted]) => window.decoders.bench(folder, wanted), [
      skeleton,
      options,
    ] as const);
    console.log(JSON.stringify({ browser: browser.version(), skeleton, ...times }));
    await page.close();
  }
} finally {
  await browser.close();
}
