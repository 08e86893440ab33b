//! What every command that talks to a server is told, and how it talks: one small runtime, one client.

use crate::cli::exit::Exit;
use crate::cli::telling;
use crate::client::Client;
use crate::client::Options;
use crate::job::id::JobId;
use anyhow::Context;
use std::time::Duration;

/// Ids of one call; more are several calls.
pub(crate) const IDS_MAX: usize = 10_000;

/// Which server.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Address {
    /// The server's address
    #[arg(long, value_name = "ADDRESS", env = "GANGLINE_SERVER", default_value = "127.0.0.1:4264")]
    #[arg(value_parser = address)]
    server: String,
}

impl Address {
    /// Host and port, as they were given.
    pub(crate) fn as_str(&self) -> &str {
        &self.server
    }
}

/// Which server, for a command that asks it and ends.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Remote {
    #[command(flatten)]
    address: Address,
}

/// An address as it is typed, checked as far as that is possible without a connection.
pub(crate) fn address(text: &str) -> Result<String, String> {
    Client::check_address(text).map(|()| text.to_owned()).map_err(|_| {
        "give host:port, such as 127.0.0.1:4264; encrypted connections are not possible yet".to_owned()
    })
}

/// How long a command goes on when the server goes away under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outage {
    /// As long as a person waits for an answer.
    Brief,
    /// For ever: whoever follows the log wants to go on when the server is back.
    Any,
}

impl Remote {
    /// The server at an address that was given in another way.
    pub(crate) fn at(server: String) -> Remote {
        Remote { address: Address { server } }
    }

    /// Runs a command against the server. That nobody listens at its address is told at once.
    ///
    /// # Errors
    /// What the command ends with.
    pub(crate) fn run(
        self,
        outage: Outage,
        command: impl AsyncFnOnce(Client) -> anyhow::Result<Exit>,
    ) -> anyhow::Result<Exit> {
        telling::begin_warnings();
        let patience = match outage {
            Outage::Brief => Options::default().patience,
            Outage::Any => Duration::MAX,
        };
        let options = Options { patience, first_patience: Duration::ZERO, ..Options::default() };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime of the client")?;
        let exit =
            runtime.block_on(async { command(Client::connect(self.address.as_str(), options)?).await });
        // A thread that waits for more input does not hold the process up.
        runtime.shutdown_background();
        exit
    }
}

/// Job ids as arguments, or one a line on stdin.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Ids {
    /// Job ids; - reads them from stdin, one a line
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

impl Ids {
    /// Every id, checked before anything is asked of the server.
    ///
    /// # Errors
    /// The first that is none.
    pub(crate) fn read(self) -> anyhow::Result<Vec<JobId>> {
        let mut ids = Vec::new();
        for text in self.ids {
            if text == "-" {
                for line in std::io::stdin().lines() {
                    let line = line.context("cannot read job ids from stdin")?;
                    if !line.trim().is_empty() {
                        ids.push(line.trim().parse()?);
                    }
                }
            } else {
                ids.push(text.parse()?);
            }
        }
        Ok(ids)
    }
}
