//! The tools' reader against real directories, whole and damaged in every way.

mod backup;
mod damage;
mod export;
mod fold;
mod live;
mod restore;
mod rig;
mod salvage;
mod slice;
mod snapshot;
mod verify;
mod wrecks;
