/**
 * The same as decode.ts in a Chromium without a window, on the machine's GPU through Vulkan, and beside it what
 * transformers.js takes with a model of the same sizes (benchmarks/made_up_onnx.py):
 *
 *     npx vite build bench/browser --outDir DIST && unzip -d DIST/smollm2 smollm2.zip
 *     python ../benchmarks/made_up_onnx.py 135m DIST/models/smollm2
 *     npm install --prefix DIST --ignore-scripts @huggingface/transformers@4.3.2
 *     python -m http.server -d DIST 8000 &
 *     node bench/chromium.ts http://127.0.0.1:8000 smollm2 --peer smollm2 [--chromium PATH] [as decode.ts]
 */
import { type Browser, chromium as browsers } from "@playwright/test";
import { decodeArguments } from "./options.ts";

const { options, positionals, chromium, peer } = decodeArguments();
const [address, skeleton] = positionals;

const ROUNDS = 3; // by turns, each in a page of its own

async function open(browser: Browser) {
  const page = await browser.newPage();
  page.on("console", (message) => console.error(message.text()));
  await page.goto(address);
  await page.waitForFunction(() => window.bench !== undefined);
  return page;
}

const browser = await browsers.launch({
  executablePath: chromium,
  args: [
    "--no-sandbox",
    "--enable-unsafe-webgpu",
    "--ignore-gpu-blocklist",
    "--enable-features=Vulkan",
    "--use-angle=vulkan",
    "--disable-vulkan-surface",
    "--enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia",
    ...(process.env.CHROMIUM_FLAGS?.split(" ") ?? []),
  ],
});
try {
  for (let round = 0; round < ROUNDS; ++round) {
    const ours = await open(browser);
    const times = await ours.evaluate(([folder, wanted]) => window.bench(folder, wanted), [
      skeleton,
      options,
    ] as const);
    console.log(JSON.stringify({ browser: browser.version(), skeleton, ...times }));
    await ours.close();
    if (peer === undefined) continue;
    const theirs = await open(browser);
    const found = await theirs.evaluate(
      ([model, wanted]) => window.benchTransformers("node_modules", "models/", model, wanted),
      [peer, options] as const,
    );
    console.log(JSON.stringify(found));
    await theirs.close();
  }
} finally {
  await browser.close();
}
