//! Compiles `proto/` into Rust, without a system protoc, and keeps the descriptors for reflection.

use protox::prost::Message;
use std::error::Error;
use std::path::PathBuf;

const FILES: [&str; 8] = [
    "gangline/v1/job.proto",
    "gangline/v1/update.proto",
    "gangline/v1/job_service.proto",
    "gangline/v1/update_service.proto",
    "gangline/v1/worker_service.proto",
    "gangline/v1/queue_service.proto",
    "gangline/v1/admin_service.proto",
    "com/groundsfam/dosomething/v1/do_something.proto",
];

#[allow(clippy::print_stdout, reason = "a build script talks to cargo through stdout")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        // Sorted labels: the same job has the same bytes and the same fingerprint. [ID-1]
        .btree_map(".")
        // Its batch is kept as bytes, which are encoded once for all readers: see `src/proto.rs`.
        .extern_path(".gangline.v1.GetUpdatesResponse", "crate::proto::GetUpdatesResponse")
        .compile_fds(descriptors.clone())?;
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    Ok(())
}
