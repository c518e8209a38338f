/** WebGPU's flag values, fixed by its specification: Node has no globals for them. */
export const BufferUsage = {
  mapRead: 0x0001,
  copySource: 0x0004,
  copyDestination: 0x0008,
  uniform: 0x0040,
  storage: 0x0080,
} as const;
export const MAP_READ = 0x0001;
export const STAGE_COMPUTE = 0x4;
