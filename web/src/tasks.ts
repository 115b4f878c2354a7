/** Keeping a page responsive while much is to be done. */

const MOST_MILLISECONDS = 12;
let since = performance.now();

interface Scheduler {
  yield?(): Promise<void>;
}

/** Lets other tasks run if this one has taken long enough. */
export async function breathe(): Promise<void> {
  if (performance.now() - since < MOST_MILLISECONDS) return;
  await nextTask();
  since = performance.now();
}

function nextTask(): Promise<void> {
  const scheduler = (globalThis as { scheduler?: Scheduler }).scheduler;
  if (scheduler?.yield !== undefined) return scheduler.yield();
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
}
