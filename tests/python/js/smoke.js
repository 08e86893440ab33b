// Submits two jobs and tails the log from their first update until both have been seen, with stubs that are made from the
// proto files at run time. Arguments: address, folder of the proto files. Prints the kinds of the updates.
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [address, proto] = process.argv.slice(2);
const files = ["gangline/v1/job_service.proto", "gangline/v1/update_service.proto"];
const options = { includeDirs: [proto], keepCase: true, longs: Number, enums: String, defaults: true };
const { gangline } = grpc.loadPackageDefinition(loader.loadSync(files, options));
const credentials = grpc.credentials.createInsecure();
const jobs = new gangline.v1.JobService(address, credentials);
const updates = new gangline.v1.UpdateService(address, credentials);

const request = { jobs: [{ payload: Buffer.from("gee") }, { payload: Buffer.from("haw") }] };
const deadline = () => ({ deadline: Date.now() + 20_000 });
const submitted = await new Promise((resolve, reject) => {
  jobs.SubmitJobs(request, new grpc.Metadata(), deadline(), (error, answer) => (error ? reject(error) : resolve(answer)));
});

const left = new Set(submitted.job_ids);
const cursor = { sequence: submitted.first_sequence - 1 };
const tail = updates.GetUpdates({ cursor, include_payload: true }, new grpc.Metadata(), deadline());
for await (const response of tail) {
  for (const update of response.batch?.updates ?? []) {
    console.log(`${update.kind} ${update.spec.payload}`);
    left.delete(update.job_id);
  }
  if (left.size === 0) break;
}
tail.cancel();
jobs.close();
updates.close();
