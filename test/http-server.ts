/** A web server for tests of downloads, as well- or ill-behaved as a test says. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Serving {
  body: Uint8Array;
  etag?: string;
  /** False: whoever asks for a part gets everything. */
  ranges?: boolean;
  /** Bytes after which each of the next connections is cut, the first first; an empty list: none. */
  cuts?: number[];
  /** What each of the next requests is answered with in place of the file. */
  statuses?: number[];
  /** True: half of the bytes, and then nothing more until `cut` is called. */
  stalls?: boolean;
  /** What Content-Encoding says. */
  encoding?: string;
  /** What Content-Length and Content-Range say, if not the truth. */
  claims?: number;
  /** True: no Content-Length, as pages that are made on the fly are sent. */
  unmeasured?: boolean;
}

export interface Request {
  readonly path: string;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
}

export class TestServer {
  readonly files = new Map<string, Serving>();
  readonly requests: Request[] = [];
  private readonly server: Server;
  private readonly stalled: ServerResponse[] = [];

  private constructor() {
    this.server = createServer((request, response) => this.answer(request, response));
  }

  static async start(): Promise<TestServer> {
    const started = new TestServer();
    await new Promise<void>((resolve) => started.server.listen(0, "127.0.0.1", resolve));
    return started;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`;
  }

  /** Cuts the connections that stall. */
  cut(): void {
    for (const response of this.stalled.splice(0)) response.destroy();
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? "/").slice(1);
    const { range } = request.headers;
    const ifRange = request.headers["if-range"];
    this.requests.push({ path, range, ifRange: typeof ifRange === "string" ? ifRange : undefined });
    const file = this.files.get(path);
    const status = file === undefined ? 404 : file.statuses?.shift();
    if (file === undefined || status !== undefined) {
      response.writeHead(status ?? 404).end("no");
      return;
    }
    const { body, etag, claims = body.length } = file;
    const asked = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1]);
    const partly = asked >= 0 && file.ranges !== false && (ifRange === undefined || ifRange === etag);
    if (partly && asked >= body.length) {
      response.writeHead(416, { "content-range": `bytes */${claims}` }).end();
      return;
    }
    const rest = partly ? body.subarray(asked) : body;
    response.writeHead(partly ? 206 : 200, {
      ...(file.unmeasured !== true && { "content-length": rest.length + claims - body.length }),
      ...(etag !== undefined && { etag }),
      ...(file.encoding !== undefined && { "content-encoding": file.encoding }),
      ...(partly && { "content-range": `bytes ${asked}-${claims - 1}/${claims}` }),
    });
    const cut = file.cuts?.shift();
    if (file.stalls === true) {
      response.write(rest.subarray(0, rest.length / 2));
      this.stalled.push(response);
    } else if (cut === undefined || cut >= rest.length) response.end(rest);
    else response.write(rest.subarray(0, cut), () => setTimeout(() => response.destroy(), 2));
  }
}
