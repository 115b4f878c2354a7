/** Devices that count what they are given: a real one, and one that only pretends. */
import { expect } from "vitest";

export class BufferCount {
  readonly live = new Set<GPUBuffer>();
  made = 0;
  /** Runs before a buffer is made. */
  before: (label: string | undefined) => void = () => {};

  get bytes(): number {
    return [...this.live].reduce((sum, { size }) => sum + size, 0);
  }
  expectNone(): void {
    expect([...this.live].map(({ label, size }) => `${label}: ${size}`)).toEqual([]);
  }
  /** Counts the buffer until it is destroyed. */
  add(buffer: GPUBuffer): GPUBuffer {
    ++this.made;
    this.live.add(buffer);
    const destroy = buffer.destroy.bind(buffer);
    buffer.destroy = () => {
      this.live.delete(buffer);
      return destroy();
    };
    return buffer;
  }
}

/** `device`, whose buffers are counted. */
export function counted(device: GPUDevice): { device: GPUDevice; count: BufferCount } {
  const count = new BufferCount();
  const proxy = new Proxy(device, {
    get(target, key) {
      if (key === "createBuffer")
        return (descriptor: GPUBufferDescriptor) => {
          count.before(descriptor.label);
          return count.add(target.createBuffer(descriptor));
        };
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return { device: proxy, count };
}

/** What `device` encodes next is not valid. */
export function refuseNext(device: GPUDevice): void {
  const { createCommandEncoder } = device;
  device.createCommandEncoder = () => {
    device.createCommandEncoder = createCommandEncoder;
    const encoder = device.createCommandEncoder();
    encoder.popDebugGroup(); // that nobody pushed
    return encoder;
  };
}

/** What is written to the sink's buffers: the bytes' number, and what `seen` makes of them. */
export interface Written {
  buffer: GPUBuffer;
  offset: number;
  bytes: Uint8Array;
}

/**
 * A device without a GPU: it takes buffers up to `room` bytes in all and says that there is no memory for more.
 * Nothing can run on it.
 */
export function sinkDevice(
  room: number,
  seen: (written: Written) => void,
): { device: GPUDevice; count: BufferCount } {
  const count = new BufferCount();
  const scopes: GPUErrorFilter[] = [];
  let full = false;
  const device = {
    limits: new Proxy({} as Record<string, number>, {
      get: (_, name) => (String(name).startsWith("min") ? 256 : 2 ** 31 - 4),
    }),
    features: new Set<string>(),
    lost: new Promise(() => {}),
    pushErrorScope: (filter: GPUErrorFilter) => scopes.push(filter),
    popErrorScope: async () => (scopes.pop() === "out-of-memory" && full ? { message: "no memory" } : null),
    createBuffer: ({ size, label }: GPUBufferDescriptor) => {
      full = count.bytes + size > room;
      return count.add({ size, label, destroy: () => {} } as unknown as GPUBuffer);
    },
    queue: {
      writeBuffer: (
        buffer: GPUBuffer,
        offset: number,
        data: Uint8Array,
        begin = 0,
        size = data.byteLength - begin,
      ) => seen({ buffer, offset, bytes: data.subarray(begin, begin + size) }),
      onSubmittedWorkDone: async () => {},
    },
    destroy: () => {},
  };
  return { device: device as unknown as GPUDevice, count };
}
