export function matmul(params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  unreachable();
}
