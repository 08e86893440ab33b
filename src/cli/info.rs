//! `gangline info`: what server this is and how it stands.

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::remote::Outage;
use crate::cli::remote::Remote;
use crate::cli::show::text;
use crate::proto::v1;
use serde::Serialize;

/// What `info` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Serialize)]
struct InfoJson {
    version: String,
    store_id: String,
    head_sequence: u64,
    floor_sequence: u64,
    floor_time: Option<String>,
    epoch: u64,
    head_position: u64,
    applied_position: u64,
    durability: &'static str,
    data_filesystem: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    read_only: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    damage: String,
    uptime_ms: u64,
    time: Option<String>,
}

/// Runs `info`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    arguments.remote.run(Outage::Brief, async |client| {
        let info = client.info().await?;
        let durability = match info.durability() {
            v1::Durability::Unspecified => "unknown",
            v1::Durability::Synced => "synced",
            v1::Durability::Memory => "memory",
        };
        let uptime_ms = info.uptime.as_ref().map_or(0, text::whole_ms);
        let json = InfoJson {
            version: info.version,
            store_id: info.store_id,
            head_sequence: info.head_sequence,
            floor_sequence: info.floor_sequence,
            floor_time: info.floor_time.as_ref().map(text::time),
            epoch: info.epoch,
            head_position: info.head_position,
            applied_position: info.applied_position,
            durability,
            data_filesystem: info.data_filesystem,
            read_only: info.read_only,
            damage: info.damage,
            uptime_ms,
            time: info.time.as_ref().map(text::time),
        };
        if arguments.json {
            output::json([json])?;
        } else {
            output::lines(tell(&json, client.address()).into_iter())?;
        }
        Ok(Exit::OK)
    })
}

fn tell(info: &InfoJson, address: &str) -> Vec<String> {
    let uptime = humantime::format_duration(std::time::Duration::from_secs(info.uptime_ms / 1_000));
    let since = info.floor_time.as_ref().map(|time| format!(", kept since {time}")).unwrap_or_default();
    let behind = info.head_position.saturating_sub(info.applied_position);
    let tree = if info.read_only {
        "read-only: as they were at its start".to_owned()
    } else {
        format!("the work tree is {behind} behind")
    };
    let mut lines = vec![
        format!("server      gangline {} at {address}, up {uptime}", info.version),
        format!("store       {} (epoch {})", info.store_id, info.epoch),
        format!("updates     {} to {}{since}", info.floor_sequence, info.head_sequence),
        format!("frames      {} ({tree})", info.head_position),
        format!("durability  {} {}", info.durability, info.data_filesystem).trim_end().to_owned(),
    ];
    if !info.damage.is_empty() {
        lines.push(format!("damage      {}", info.damage));
    }
    lines
}
