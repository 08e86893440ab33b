// The real binary on a temporary directory and a free port, and stubs of every service, made from the proto files at run
// time. GANGLINE_BINARY names the binary, GANGLINE_PROTO the folder of the proto files.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { once } from "node:events";
import { createInterface } from "node:readline";
import os from "node:os";
import path from "node:path";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const FILES = ["admin", "job", "queue", "update", "worker"].map((name) => `gangline/v1/${name}_service.proto`);
const SEED = "com/groundsfam/dosomething/v1/do_something.proto";
const OPTIONS = { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true };
// Longer than anything here takes on a busy machine.
const DEADLINE_MS = 30_000;

function setting(name) {
  if (!process.env[name]) throw new Error(`say in ${name} where it is: scripts/test-node does`);
  return process.env[name];
}

/** Starts a server; it and its data go away when the test ends. */
export async function start(test) {
  const data = await mkdtemp(path.join(os.tmpdir(), "gangline-node-"));
  const server = spawn(setting("GANGLINE_BINARY"), ["serve", "--data", data, "--listen", "127.0.0.1:0"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  server.stderr.on("data", (text) => (log += text));
  test.after(async () => {
    if (server.exitCode === null) {
      server.kill("SIGKILL");
      await once(server, "exit");
    }
    await rm(data, { recursive: true, force: true });
  });
  const [line] = await once(createInterface({ input: server.stdout }), "line", {
    signal: AbortSignal.timeout(DEADLINE_MS),
  });
  if (!line.startsWith("listening on ")) throw new Error(`the server did not start: ${line}\n${log}`);
  return line.slice("listening on ".length).trim();
}

/** Clients of every service by its short name; `called` collects the full names of the methods that are called. */
export function connect(test, address) {
  const includeDirs = [setting("GANGLINE_PROTO")];
  const root = grpc.loadPackageDefinition(loader.loadSync([...FILES, SEED], { ...OPTIONS, includeDirs }));
  const services = { ...root.gangline.v1, ...root.com.groundsfam.dosomething.v1 };
  const stubs = { called: new Set(), every: new Set() };
  for (const [name, Service] of Object.entries(services)) {
    if (!Service.service) continue;
    const client = new Service(address, grpc.credentials.createInsecure());
    test.after(() => client.close());
    stubs[name.replace("Service", "")] = wrap(client, Service.service, stubs);
  }
  return stubs;
}

/** Every method under its own name: unary calls and client streams give a promise, the others the stream. */
function wrap(client, methods, stubs) {
  const wrapped = {};
  for (const { path: full, requestStream, responseStream, originalName } of Object.values(methods)) {
    const name = full.split("/").pop();
    const call = client[originalName ?? name].bind(client);
    const options = () => ({ deadline: Date.now() + DEADLINE_MS });
    stubs.every.add(full);
    wrapped[name] = (request, metadata = new grpc.Metadata()) => {
      stubs.called.add(full);
      if (requestStream && responseStream) return call(metadata, options());
      if (responseStream) return call(request, metadata, options());
      return new Promise((resolve, reject) => {
        const answered = (error, answer) => (error ? reject(error) : resolve(answer));
        if (!requestStream) return call(request, metadata, options(), answered);
        const stream = call(metadata, options(), answered);
        for (const message of request) stream.write(message);
        stream.end();
      });
    };
  }
  return wrapped;
}

/** The next message of a stream, or undefined at its end. */
export function reader(stream) {
  const messages = stream[Symbol.asyncIterator]();
  return async () => (await messages.next()).value;
}
