// Every call of the public API from grpc-js, each with an outcome that can be seen; a new one that is missing here fails.
import assert from "node:assert/strict";
import { test } from "node:test";
import grpc from "@grpc/grpc-js";
import { connect, reader, start } from "./server.js";

const UNKNOWN = "0198a5c2-6f00-7000-8000-000000000001";
const text = (bytes) => Buffer.from(bytes).toString();

/** What a call is refused with. */
async function refusal(promise) {
  const error = await promise.then(
    (answer) => assert.fail(`it was not refused: ${JSON.stringify(answer)}`),
    (refused) => refused,
  );
  // The reason of google.rpc.ErrorInfo, without its proto file.
  const [details] = error.metadata.get("grpc-status-details-bin");
  return { code: error.code, words: error.details, details: details?.toString("latin1") ?? "" };
}

/** The updates of a stream up to the head. */
async function log(stubs, request) {
  const found = [];
  let head = 0;
  for await (const response of stubs.Update.GetUpdates({ ...request, follow: "FOLLOW_MODE_STOP_AT_HEAD" })) {
    found.push(...(response.batch?.updates ?? []));
    head = response.head_sequence;
  }
  return { updates: found, head };
}

/** Three jobs through the unary calls of a worker: one succeeds, one dies, one is handed back. */
async function unaryWorker(stubs) {
  const jobs = ["gee", "haw", "whoa"].map((word) => ({ queue: "q", payload: Buffer.from(word), labels: { dog: word } }));
  const submitted = await stubs.Job.SubmitJobs({ jobs, key: "k" });
  const again = await stubs.Job.SubmitJobs({ jobs, key: "k" });
  assert.deepEqual([again.job_ids, submitted.repeat, again.repeat], [submitted.job_ids, false, true]);
  const worker_id = "node";
  const { leases } = await stubs.Worker.ClaimJobs({ worker_id, queues: ["q"], jobs_max: 3, wait: { seconds: 10 } });
  assert.deepEqual(leases.map((lease) => [text(lease.payload), lease.labels.dog]), [["gee", "gee"], ["haw", "haw"], ["whoa", "whoa"]]);
  const [first, second, third] = leases.map(({ job_id, token, handle }) => ({ job_id, token, handle }));
  const gone = { ...first, token: first.token + 1_000 };
  const extended = await stubs.Worker.ExtendLeases({
    worker_id,
    held: [first, third, gone],
    progress: [{ ...first, progress: { done: 5_000, message: "half" } }],
  });
  assert.deepEqual(extended.held.map((lease) => lease.token), [first.token, third.token]);
  const { workers } = await stubs.Admin.ListWorkers({});
  assert.deepEqual(workers.map((worker) => [worker.worker_id, worker.leases]), [["node", 3]]);
  const { acks } = await stubs.Worker.FinishJobs({
    worker_id,
    finishes: [
      { ...first, complete: { result: Buffer.from("GEE"), content_type: "text/plain" } },
      { ...second, fail: { failure: { message: "on thin ice" }, retryable: "RETRYABLE_NO" } },
      { ...third, release: { delay: { seconds: 3_600 }, reason: "tired" } },
    ],
  });
  assert.deepEqual(acks.map((ack) => ack.outcome), Array(3).fill("FINISH_OUTCOME_ACCEPTED"));
  const { job } = await stubs.Job.GetJob({ job_id: first.job_id, include_result: true, wait: { seconds: 10 } });
  assert.deepEqual([job.state, text(job.result), job.result_content_type], ["JOB_STATE_SUCCEEDED", "GEE", "text/plain"]);
  const kinds = ["SUBMITTED", "SUBMITTED", "SUBMITTED", "STARTED", "STARTED", "STARTED"];
  const { updates } = await log(stubs, { cursor: { sequence: submitted.first_sequence - 1 }, include_payload: true });
  assert.deepEqual(updates.slice(0, 6).map((update) => update.kind), kinds.map((kind) => `UPDATE_KIND_${kind}`));
  assert.equal(text(updates[0].spec.payload), "gee");
  return submitted.job_ids;
}

/** What an operator does with jobs, and what a job's state forbids. */
async function operator(stubs, [done, dead, waiting]) {
  const brief = ({ results }) => results.map(({ outcome, state }) => [outcome.slice(12), state.slice(10)]);
  assert.deepEqual(brief(await stubs.Job.RetryJobs({ job_ids: [dead, done, UNKNOWN] })), [
    ["DONE", "WAITING"],
    ["WRONG_STATE", "SUCCEEDED"],
    ["NOT_FOUND", "UNSPECIFIED"],
  ]);
  assert.deepEqual(brief(await stubs.Job.CancelJobs({ job_ids: [waiting], reason: "no snow" })), [["DONE", "CANCELLED"]]);
  assert.deepEqual(brief(await stubs.Job.DeleteJobs({ job_ids: [done, dead] })), [
    ["DONE", "UNSPECIFIED"],
    ["WRONG_STATE", "WAITING"],
  ]);
  const refused = await refusal(stubs.Job.GetJob({ job_id: done }));
  assert.equal(refused.code, grpc.status.NOT_FOUND);
  assert.match(refused.details, /JOB_NOT_FOUND/);
  const listed = await stubs.Job.ListJobs({ queue: "q", labels: { dog: "whoa" } });
  assert.deepEqual(listed.jobs.map((job) => job.id), [waiting]);
}

async function queues(stubs) {
  const settings = { paused: true, max_pending: 7 };
  const { queue } = await stubs.Queue.UpdateQueue({ name: "q", settings });
  assert.deepEqual([queue.settings.paused, queue.settings.max_pending, queue.ready], [true, 7, 1]);
  assert.deepEqual((await stubs.Worker.ClaimJobs({ worker_id: "node", queues: ["q"] })).leases, []);
  assert.deepEqual((await stubs.Queue.ListQueues({})).queues.map((queue) => queue.name), ["q"]);
  assert.equal((await stubs.Queue.PurgeQueue({ name: "q", target: "PURGE_TARGET_WAITING" })).jobs, 1);
  assert.equal((await stubs.Queue.GetQueue({ name: "q" })).queue.ready, 0);
}

async function cursors(stubs) {
  const { head } = await log(stubs, {});
  await stubs.Update.CommitCursor({ name: "musher", cursor: { sequence: head - 2 } });
  const listed = await stubs.Update.ListCursors({});
  assert.deepEqual(listed.cursors.map((kept) => [kept.name, kept.cursor.sequence]), [["musher", head - 2]]);
  const { updates } = await log(stubs, { named_cursor: "musher" });
  assert.deepEqual(updates.map((update) => update.sequence), [head - 1, head]);
  await stubs.Update.DeleteCursor({ name: "musher" });
  assert.match((await refusal(stubs.Update.DeleteCursor({ name: "musher" }))).details, /CURSOR_NOT_FOUND/);
}

/** From a producer's stream to a worker's, both bidirectional. */
async function streams(stubs) {
  const producer = stubs.Job.StreamSubmit();
  const submitted = reader(producer);
  producer.write({ start: { producer_id: "node" } });
  assert.equal((await submitted()).resumed.last_ordinal, 0);
  const jobs = [{ queue: "streams", payload: Buffer.from("x") }, { queue: "streams", payload: Buffer.from("y") }];
  producer.write({ batch: { first_ordinal: 1, jobs } });
  const [accepted] = (await submitted()).accepted;
  assert.deepEqual([accepted.first_ordinal, accepted.count], [1, 2]);
  producer.end();
  assert.equal(await submitted(), undefined);

  const stream = stubs.Worker.Work();
  const given = reader(stream);
  stream.write({ hello: { worker_id: "node-stream", queues: ["streams"] }, free_slots: 2 });
  assert.equal((await given()).welcome.store_id.length, 32);
  const leases = [];
  while (leases.length < 2) leases.push(...(await given()).leases);
  assert.equal(leases[0].job_id, accepted.first_job_id);
  const finishes = leases.map(({ job_id, token, handle, payload }) => ({ job_id, token, handle, complete: { result: payload } }));
  stream.write({ finishes });
  const acks = [];
  while (acks.length < 2) acks.push(...(await given()).acks);
  assert.deepEqual(acks.map((ack) => ack.outcome), Array(2).fill("FINISH_OUTCOME_ACCEPTED"));
  stream.write({ bye: { reason: "done" } });
  stream.end();
  assert.equal(await given(), undefined);
}

/** All files of the log in pieces; then only what is new beside what the caller has. */
async function backup(stubs) {
  const pieces = [];
  for await (const piece of stubs.Admin.GetBackup({})) pieces.push(piece);
  const { begin } = pieces[0];
  const files = pieces.filter((piece) => piece.file).map((piece) => piece.file.file);
  const sent = pieces.reduce((bytes, piece) => bytes + (piece.chunk?.length ?? 0), 0);
  assert.ok(pieces.at(-1).end);
  assert.deepEqual([begin.store_id.length, begin.format, begin.bytes], [32, 1, sent]);
  assert.equal(files.reduce((bytes, file) => bytes + file.bytes, 0), sent);
  let again = 0;
  for await (const piece of stubs.Admin.GetBackup({ held: files })) again += piece.chunk?.length ?? 0;
  assert.ok(again < sent);
}

test("every call from grpc-js", async (context) => {
  const stubs = connect(context, await start(context));
  const info = await stubs.Admin.GetServerInfo({});
  assert.deepEqual([info.durability, info.epoch], ["DURABILITY_SYNCED", 1]);
  const ids = await unaryWorker(stubs);
  await operator(stubs, ids);
  await queues(stubs);
  await cursors(stubs);
  await streams(stubs);
  await backup(stubs);

  await stubs.DoSomething.doSomething([{ name: "Togo", payload: Buffer.from("pull"), queue: "seed" }]);
  const metadata = new grpc.Metadata();
  metadata.set("gangline-cursor", "node");
  const tail = stubs.DoSomething.getUpdates({}, metadata);
  for await (const update of tail) {
    if (update.name !== "Togo") continue;
    assert.deepEqual([update.state, text(update.payload)], ["STATE_SUBMITTED", "pull"]);
    break;
  }
  assert.ok(stubs.every.size >= 23);
  assert.deepEqual([...stubs.called].sort(), [...stubs.every].sort());
});

test("a tail follows what happens later, and its end is told to the server", async (context) => {
  const stubs = connect(context, await start(context));
  const tail = stubs.Update.GetUpdates({ end: "LOG_END_HEAD" });
  const next = reader(tail);
  assert.equal((await next()).head_sequence, 0);
  const { job_ids } = await stubs.Job.SubmitJobs({ jobs: [{ payload: Buffer.from("later") }] });
  const { updates } = (await next()).batch;
  assert.deepEqual(updates.map((update) => [update.job_id, update.kind]), [[job_ids[0], "UPDATE_KIND_SUBMITTED"]]);
  const ended = new Promise((resolve) => tail.on("error", resolve));
  tail.cancel();
  assert.equal((await ended).code, grpc.status.CANCELLED);
});
