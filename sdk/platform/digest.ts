/** SHA-256 by WebCrypto, which Node, Deno and browsers share. */
import { WidefieldError } from "../errors.ts";

/**
 * Lower-case hexadecimal SHA-256.
 *
 * @throws WidefieldError E_CONFIG on a web page that is not a secure context: browsers withhold WebCrypto there
 */
export async function sha256(content: Uint8Array | string): Promise<string> {
  const subtle = globalThis.crypto.subtle as SubtleCrypto | undefined;
  if (subtle === undefined) {
    throw new WidefieldError(
      "E_CONFIG",
      "this page has no WebCrypto for SHA-256: serve it over https or from localhost",
    );
  }
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  // WebCrypto refuses shared memory.
  const { buffer, byteOffset, byteLength } = bytes;
  const unshared = buffer instanceof ArrayBuffer ? new Uint8Array(buffer, byteOffset, byteLength) : bytes.slice();
  const digest = new Uint8Array(await subtle.digest("SHA-256", unshared));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
