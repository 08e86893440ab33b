//! A server whose jobs are done by Rust in the same process: counts the primes below the number in each payload.
//!
//! ```text
//! cargo run --release --example handler -- ./data 127.0.0.1:4264
//! ```

#![allow(clippy::print_stdout, reason = "the example talks to a terminal")]

use anyhow::Context as _;
use bytes::Bytes;
use gangline::config::Config;
use gangline::job::retry::Retryable;
use gangline::pool;
use gangline::pool::Assignment;
use gangline::pool::Handler;
use gangline::pool::Mode;
use gangline::pool::claims::PoolSpec;
use gangline::pool::handler::Context;
use gangline::pool::handler::HandlerError;
use gangline::pool::spawner;
use gangline::server;
use std::sync::Arc;

/// Each slot of the pool calls it on a thread of its own.
struct CountPrimes;

impl Handler for CountPrimes {
    fn call(&self, job: &Assignment, context: &Context) -> Result<Bytes, HandlerError> {
        let below: u64 = str::from_utf8(&job.payload)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(|| never("the payload is not a number"))?;
        let mut count = 0;
        for number in 2..below {
            if number.is_multiple_of(4_096) {
                if context.is_cancelled() {
                    return Err(HandlerError { message: "stopped".to_owned(), retry: Retryable::Yes });
                }
                context.progress(Some(number as f64 / below as f64), "counting");
            }
            count += u64::from(is_prime(number));
        }
        Ok(count.to_string().into())
    }
}

fn is_prime(number: u64) -> bool {
    (2..).take_while(|factor| factor * factor <= number).all(|factor| !number.is_multiple_of(factor))
}

/// Another attempt would fail again.
fn never(message: &str) -> HandlerError {
    HandlerError { message: message.to_owned(), retry: Retryable::No }
}

fn main() -> anyhow::Result<()> {
    // Pools with a command are started by a copy of this program; a copy must not go on from here.
    spawner::run_if_asked();
    let mut arguments = std::env::args().skip(1);
    let primes = PoolSpec {
        name: "primes".into(),
        queues: vec!["default".parse()?],
        config: pool::Config::new(Mode::Handler(Arc::new(CountPrimes))),
    };
    let config = Config {
        data: arguments.next().context("name a data directory")?.into(),
        listen: arguments.next().context("name an address to listen on")?.parse()?,
        pools: vec![primes],
        ..Config::default()
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let running = server::start(&config).await?;
        println!("listening on {}", running.address());
        tokio::signal::ctrl_c().await?;
        running.stop().await?;
        Ok(())
    })
}
