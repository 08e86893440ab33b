//! `gangline cursors`: the places in the log that the server keeps for its readers.

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::remote::Outage;
use crate::cli::remote::Remote;
use crate::cli::show::table::Table;
use crate::cli::show::text;
use crate::cli::words::Place;
use crate::client::Client;
use crate::clock::Clock;
use crate::proto::v1;
use clap::Subcommand;
use serde::Serialize;

/// What `cursors` is told.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the named cursors (also without a verb)
    List(List),
    /// Keep a place under a name, which may also go back
    Commit {
        /// The cursor's name
        #[arg(value_name = "NAME")]
        name: String,
        /// The newest update that has been dealt with: its sequence, start or end
        #[arg(value_name = "SEQUENCE|start|end")]
        place: Place,
        #[command(flatten)]
        remote: Remote,
    },
    /// Forget a named cursor
    Delete {
        /// The cursor's name
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Serialize)]
struct CursorJson<'a> {
    name: &'a str,
    sequence: u64,
    behind: u64,
    lost: bool,
    committed_at: Option<String>,
}

/// Runs `cursors`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    match arguments.action.unwrap_or(Action::List(arguments.list)) {
        Action::List(List { json, remote }) => {
            remote.run(Outage::Brief, async |client| list(&client, json).await)
        }
        Action::Commit { name, place, remote } => remote.run(Outage::Brief, async |client| {
            // The store's id lets the server refuse a place in another history.
            let info = client.info().await?;
            let sequence = match place {
                Place::Start => info.floor_sequence.saturating_sub(1),
                Place::End => info.head_sequence,
                Place::After(sequence) => sequence,
            };
            client.commit_cursor(&name, v1::Cursor { store_id: info.store_id, sequence }).await?;
            output::note(format_args!("cursor {name:?} is at {sequence}"));
            Ok(Exit::OK)
        }),
        Action::Delete { name, remote } => remote.run(Outage::Brief, async |client| {
            client.delete_cursor(&name).await?;
            output::note(format_args!("cursor {name:?} is forgotten"));
            Ok(Exit::OK)
        }),
    }
}

async fn list(client: &Client, json: bool) -> anyhow::Result<Exit> {
    let (cursors, head) = client.cursors().await?;
    let lost = cursors.iter().filter(|cursor| cursor.lost).count();
    let sequence = |cursor: &v1::NamedCursor| cursor.cursor.as_ref().map_or(0, |cursor| cursor.sequence);
    if json {
        output::json(cursors.iter().map(|cursor| CursorJson {
            name: &cursor.name,
            sequence: sequence(cursor),
            behind: head.saturating_sub(sequence(cursor)),
            lost: cursor.lost,
            committed_at: cursor.committed_at.as_ref().map(text::time),
        }))?;
    } else {
        let now = Clock::system().now().wall;
        let mut table = Table::new(["CURSOR", "SEQUENCE", "BEHIND", "PLACE", "COMMITTED"]);
        for cursor in &cursors {
            table.row([
                text::preview(cursor.name.as_bytes(), 128),
                sequence(cursor).to_string(),
                head.saturating_sub(sequence(cursor)).to_string(),
                if cursor.lost { "lost" } else { "kept" }.to_owned(),
                text::age(cursor.committed_at.as_ref(), now),
            ]);
        }
        output::lines(table.lines())?;
    }
    if lost > 0 {
        output::note(format_args!(
            "{lost} lost: the log no longer has all updates after them; commit one at a place that is kept, such as start, \
             or delete it"
        ));
    }
    Ok(Exit::OK)
}
