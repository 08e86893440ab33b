//! The whole server, as its users run it: the real binary, a real data directory, real connections. One binary for all
//! of these tests, because each further one would be linked again.

mod harness;

mod backup;
mod bench;
mod config;
mod diff;
mod disk;
mod exit;
mod figures;
mod formats;
mod history;
mod inspect;
mod limits;
mod operator;
mod producers;
mod quiet;
mod read_only;
mod rebuilding;
mod replay;
mod retention;
mod run;
mod run_again;
mod salvage;
mod serve;
mod stop;
mod verbs;
mod verify;
mod volume;
mod work;
